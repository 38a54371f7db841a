"""Keys that sign what DMR says, in Django admin: their states, and two buttons. Of the list of participants here."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from dmr_project.lib.errors import DomainError
from participants import signed_list
from participants.admin.look import AMBER, BLUE, GREEN, GREY, RED, ReadOnlyAdmin, actor, badge
from participants.models import ListKey, SigningKey
from participants.signing_keys import SigningKeys

COLOURS = {
    SigningKey.State.NEXT: BLUE,
    SigningKey.State.SIGNING: GREEN,
    SigningKey.State.RETIRED: AMBER,
    SigningKey.State.WITHDRAWN: GREY,
    SigningKey.State.REVOKED: RED,
}


class RotateForm(forms.Form):
    reason = forms.CharField(max_length=500, required=False)
    at_once = forms.BooleanField(required=False)


class SigningKeyAdmin(ReadOnlyAdmin):
    """Of one kind of them: `keys`, and what its buttons say."""

    keys: SigningKeys
    permission = ""  # to rotate and to replace
    rotates: Any = ""  # what the button says
    warning: Any = ""  # of replacing at once

    list_display = ("key_id", "state", "signs_from", "signs_until", "published_until", "revoked_at")
    fields = (
        "key_id", "state", "public", "created_at", "signs_from", "signs_until", "published_until", "revoked_at"
    )  # fmt: skip
    readonly_fields = ("state", "public")
    ordering = ("-number",)
    change_list_template = "admin/participants/signing_keys.html"

    @admin.display(description=_("state"))
    def state(self, row: SigningKey) -> SafeString:
        state = row.state(timezone.now())
        return badge(state.label, COLOURS[state])

    @admin.display(description=_("public key"))
    def public(self, row: SigningKey) -> str:
        return row.public_key

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {
            "may_rotate": self.has_rotate_permission(request),
            "rotate_url": reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_rotate"),
            "rotates": self.rotates,
            "warning": self.warning,
            "lead": f"{self.keys.lead() / 3600:g} h",
            "overlap": f"{self.keys.overlap() / 3600:g} h",
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def get_urls(self) -> list[URLPattern]:
        rotate = path(
            "rotate/",
            self.admin_site.admin_view(require_POST(self.rotate)),
            name=f"{self.opts.app_label}_{self.opts.model_name}_rotate",
        )
        return [rotate, *super().get_urls()]

    def has_rotate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(self.permission)

    def rotate(self, request: HttpRequest) -> HttpResponse:
        """A button was pressed: the next key, or with `at_once` a new one in place of all others."""
        if not self.has_rotate_permission(request):
            raise PermissionDenied
        form = RotateForm(request.POST)
        form.is_valid()
        reason, at_once = form.cleaned_data.get("reason", ""), form.cleaned_data.get("at_once", False)
        try:
            if at_once:
                row = self.keys.replace(actor=actor(request), reason=reason)
                messages.success(
                    request, gettext("%(row)s signs from now on; all others are revoked.") % {"row": row}
                )
            else:
                row = self.keys.rotate(actor=actor(request), reason=reason)
                messages.success(
                    request,
                    gettext("%(row)s is published, and signs from %(signs_from)s on.")
                    % {"row": row, "signs_from": _local(row.signs_from)},
                )
        except DomainError as error:
            messages.error(request, error.detail)
        return HttpResponseRedirect(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"))


@admin.register(ListKey)
class ListKeyAdmin(SigningKeyAdmin):
    keys = signed_list.keys
    permission = "participants.rotate_listkey"
    rotates = _("Rotate the list key")
    warning = _(
        "Only if a key may have leaked: a new one signs at once, and all others are revoked. Whoever does not fetch "
        "the keys again refuses the lists that come, and goes on with the one that they have."
    )


def _local(at: datetime) -> str:
    return timezone.localtime(at).strftime("%Y-%m-%d %H:%M")

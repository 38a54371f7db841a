"""The keys that sign what leaves, in Django admin: their states, and two buttons."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.conf import settings
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
from participants.admin import ReadOnlyAdmin, actor, badge
from participants.admin.look import AMBER, BLUE, GREEN, GREY, RED
from relay import delivery_keys
from relay.models import DeliveryKey

_COLOURS = {
    DeliveryKey.State.NEXT: BLUE,
    DeliveryKey.State.SIGNING: GREEN,
    DeliveryKey.State.RETIRED: AMBER,
    DeliveryKey.State.WITHDRAWN: GREY,
    DeliveryKey.State.REVOKED: RED,
}


class RotateForm(forms.Form):
    reason = forms.CharField(max_length=500, required=False)
    at_once = forms.BooleanField(required=False)


@admin.register(DeliveryKey)
class DeliveryKeyAdmin(ReadOnlyAdmin):
    list_display = ("key_id", "state", "signs_from", "signs_until", "published_until", "revoked_at")
    fields = (
        "key_id", "state", "public", "created_at", "signs_from", "signs_until", "published_until", "revoked_at"
    )  # fmt: skip
    readonly_fields = ("state", "public")
    ordering = ("-number",)
    change_list_template = "admin/relay/deliverykey/change_list.html"

    @admin.display(description=_("state"))
    def state(self, row: DeliveryKey) -> SafeString:
        state = row.state(timezone.now())
        return badge(state.label, _COLOURS[state])

    @admin.display(description=_("public key"))
    def public(self, row: DeliveryKey) -> str:
        return f"whpk_{row.public_key}"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {
            "may_rotate": self.has_rotate_permission(request),
            "lead": f"{settings.DELIVERY_KEY_LEAD / 3600:g} h",
            "overlap": f"{settings.DELIVERY_KEY_OVERLAP / 3600:g} h",
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def get_urls(self) -> list[URLPattern]:
        rotate = path(
            "rotate/",
            self.admin_site.admin_view(require_POST(self.rotate)),
            name="relay_deliverykey_rotate",
        )
        return [rotate, *super().get_urls()]

    def has_rotate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("relay.rotate_deliverykey")

    def rotate(self, request: HttpRequest) -> HttpResponse:
        """A button was pressed: the next key, or with `at_once` a new one in place of all others."""
        if not self.has_rotate_permission(request):
            raise PermissionDenied
        form = RotateForm(request.POST)
        form.is_valid()
        reason, at_once = form.cleaned_data.get("reason", ""), form.cleaned_data.get("at_once", False)
        try:
            if at_once:
                row = delivery_keys.replace(actor=actor(request), reason=reason)
                messages.success(
                    request, gettext("%(row)s signs from now on; all others are revoked.") % {"row": row}
                )
            else:
                row = delivery_keys.rotate(actor=actor(request), reason=reason)
                messages.success(
                    request,
                    gettext("%(row)s is published, and signs from %(signs_from)s on.")
                    % {"row": row, "signs_from": _local(row.signs_from)},
                )
        except DomainError as error:
            messages.error(request, error.detail)
        return HttpResponseRedirect(reverse("admin:relay_deliverykey_changelist"))


def _local(at: datetime) -> str:
    return timezone.localtime(at).strftime("%Y-%m-%d %H:%M")

"""Public keys in Django admin: who published which, and the way to revoke one."""

from __future__ import annotations

import json

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dmr_project.lib.errors import InvalidInput
from participants import public_keys
from participants.admin.filters import NamedFilter
from participants.admin.look import AMBER, GREEN, GREY, TabularInline, actor, badge
from participants.admin.pages import DomainAdmin
from participants.models import PublicKey


def state(row: PublicKey) -> SafeString:
    if row.revoked_at:
        return badge(_("Revoked"), GREY)
    return badge(_("Valid"), GREEN) if row.is_valid else badge(_("Expired"), AMBER)


@admin.register(PublicKey)
class PublicKeyAdmin(DomainAdmin):
    list_display = ("kid", "participant", "state_now", "kind", "use", "alg", "created_at", "expires_at")
    list_filter = (
        ("revoked_at", admin.EmptyFieldListFilter),
        "kind",
        "use",
        ("participant__institution", NamedFilter),
    )
    list_select_related = ("participant",)
    search_fields = ("participant__name", "kid", "thumbprint")
    fields = (
        "participant", "kid", "state_now", "kind", "use", "alg", "created_at", "expires_at", "revoked_at",
        "revoked_reason", "thumbprint", "jwk",
    )  # fmt: skip
    readonly_fields = ("state_now", "jwk")
    change_form_template = "admin/participants/steered.html"
    permissions = {"revoke": "participants.revoke_publickey"}

    @admin.display(description=gettext_lazy("state"))
    def state_now(self, row: PublicKey) -> SafeString:
        return state(row)

    @admin.display(description=gettext_lazy("key"))
    def jwk(self, row: PublicKey) -> SafeString:
        return format_html('<pre style="white-space:pre-wrap">{}</pre>', json.dumps(row.members, indent=1))

    def buttons(self, row: PublicKey) -> dict[str, tuple[str, str]]:
        if row.revoked_at is not None:
            return {}
        return {"revoke": (_("Revoke"), _("Nobody is to use the key any more; the others see why: write it here."))}

    def act(self, request: HttpRequest, row: PublicKey, name: str) -> str:
        reason = request.POST.get("reason", "").strip()
        if not reason:
            raise InvalidInput(_("Write why: the owner and the others see it."))
        public_keys.revoke(row, actor=actor(request), reason=reason)
        return _("%(key)s is revoked.") % {"key": row}


class PublicKeyInline(TabularInline):
    model = PublicKey
    extra = 0
    can_delete = False
    show_change_link = True
    fields = readonly_fields = ("kid", "state_now", "kind", "use", "alg", "created_at", "expires_at", "revoked_at")

    @admin.display(description=gettext_lazy("state"))
    def state_now(self, row: PublicKey) -> SafeString:
        return state(row)

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

"""API keys in Django admin: looked at, issued and revoked, never shown again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from participants import key_notices, registry
from participants.admin.bulk import Foreseen, PerhapsWhy, previewed
from participants.admin.filters import NamedFilter
from participants.admin.look import COLOURS, ReadOnlyAdmin, TabularInline, actor, badge, told
from participants.models import ApiKey
from participants.scopes import Scope


class IssueKeyForm(forms.Form):
    note = forms.CharField(
        label=_("Note"), max_length=100, required=False, help_text=_("What it is for, such as: rotation of May.")
    )
    days = forms.IntegerField(
        min_value=1, max_value=3650, required=False, label=_("Expires after (days)"), help_text=_("Empty: never.")
    )
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label=_("Only for"),
        help_text=_("None: for everything."),
    )


class ApiKeyInline(TabularInline):
    model = ApiKey
    extra = 0
    can_delete = False
    fields = readonly_fields = (
        "hint", "noted", "scopes", "created_at", "expires_at", "last_used_at", "last_used_from", "revoked_at",
    )  # fmt: skip
    noted = told("note", _("note"))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def revoked(admin: Any, request: HttpRequest, row: ApiKey) -> Foreseen:
    if row.revoked_at:
        return Foreseen(left=gettext("was revoked already"))
    return Foreseen(gettext("valid") if row.is_valid else gettext("expired"), gettext("revoked: void at once"))


class ExpiresSoon(admin.SimpleListFilter):
    title = _("expires")
    parameter_name = "expires"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(str(days), _("within %(days)s days") % {"days": days}) for days in key_notices.DAYS]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        days = self.value()
        if days not in {str(each) for each in key_notices.DAYS}:
            return queryset
        return queryset.expiring(timezone.now(), timedelta(days=int(days)))


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    list_display = (
        "participant", "hint", "state", "noted", "scopes", "created_at", "expires_at", "last_used_at",
        "last_used_from",
    )  # fmt: skip
    list_filter = (
        ExpiresSoon,
        ("revoked_at", admin.EmptyFieldListFilter),
        ("participant__institution", NamedFilter),
    )
    list_select_related = ("participant",)
    search_fields = ("participant__name", "note", "hint", "last_used_from")
    fields = (
        "participant", "hint", "noted", "scopes", "predecessor", "created_at", "expires_at", "last_used_at",
        "last_used_from", "revoked_at",
    )  # fmt: skip
    readonly_fields = ("noted",)
    actions = ("revoke",)
    noted = told("note", _("note"))

    @admin.display(description=_("state"))
    def state(self, row: ApiKey) -> SafeString:
        if row.revoked_at:
            return badge(gettext("Revoked"), COLOURS["Deleted"])
        return (
            badge(gettext("Valid"), COLOURS["Active"])
            if row.is_valid
            else badge(gettext("Expired"), COLOURS["Disabled"])
        )

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("participants.revoke_apikey")

    @previewed(
        revoked,
        description=_("Revoke: void at once, and for good"),
        permissions=["revoke"],
        form=PerhapsWhy,
        done=_("%(count)s revoked; %(left)s were already."),
    )
    def revoke(self, request: HttpRequest, rows: list[ApiKey], said: dict[str, Any]) -> int:
        return sum(registry.revoke_key(key, actor=actor(request), reason=said["reason"]) for key in rows)

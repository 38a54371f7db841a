"""Who is in which room in Django admin, edited beside the room or the participant."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from participants import rooms
from participants.admin.look import TabularInline, actor
from participants.admin.registry import RegistryAdmin, why
from participants.models import Membership

MEMBERS_SHOWN = 50  # on one page of a room


class Named(forms.TextInput):
    """What a row is of, in words: nothing to type, and nothing to look up."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def render(self, *args: Any, **kwargs: Any) -> SafeString:
        return format_html("{}", self.name)


class MembershipForm(forms.ModelForm):
    """A membership that is there stays between the two; a chooser in each row would ask the database for each."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("room", "participant") if self.instance.pk else ():
            field = self.fields.get(name)
            if isinstance(field, forms.ModelChoiceField):
                field.disabled, field.widget = True, Named(str(getattr(self.instance, name)))


class MembershipInline(TabularInline):
    model = Membership
    form = MembershipForm
    per_page = MEMBERS_SHOWN
    extra = 0
    autocomplete_fields = ("room", "participant")
    fields = ("room", "participant", "may_speak", "listens", "joined_at")
    readonly_fields = ("joined_at",)
    verbose_name = _("membership")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        rows: QuerySet[Membership] = super().get_queryset(request)
        return rows.select_related("room", "participant").order_by("participant__name", "room__name")


class SavesMemberships(RegistryAdmin):
    """Memberships edited beside their room or participant."""

    def save_formset(
        self, request: HttpRequest, form: Any, formset: BaseInlineFormSet[Any, Any, Any], change: bool
    ) -> None:
        if formset.model is not Membership:
            super().save_formset(request, form, formset, change)
            return
        formset.save(commit=False)
        who, reason = actor(request), why(request)
        moved = [row for row, fields in formset.changed_objects if {"room", "participant"} & set(fields)]
        for row in [*formset.deleted_objects, *moved]:
            stored = Membership.objects.select_related("room", "participant").get(pk=row.pk)
            rooms.leave(stored.room, stored.participant, actor=who, reason=reason)
        for row, _fields in formset.changed_objects:
            if row not in moved:
                rooms.change(row, may_speak=row.may_speak, listens=row.listens, actor=who, reason=reason)
        for row in [*formset.new_objects, *moved]:
            terms = {"may_speak": row.may_speak, "listens": row.listens}
            rooms.join(row.room, row.participant, actor=who, reason=reason, **terms)

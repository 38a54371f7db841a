"""Institutions in Django admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from participants import registry
from participants.admin.registry import RegistryAdmin
from participants.models import Institution


@admin.register(Institution)
class InstitutionAdmin(RegistryAdmin):
    list_display = ("name", "status", "participant_count", "created_at")
    list_filter = ("status",)
    search_fields = ("name",)
    fields = ("name", "status")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Institution]:
        count = Count("participants", filter=Q(participants__deleted_at=None))
        return Institution.objects.present().annotate(participant_count=count)

    @admin.display(description=_("participants"), ordering="participant_count")
    def participant_count(self, row: Any) -> SafeString:
        url = reverse("admin:participants_participant_changelist")
        return format_html('<a href="{}?institution__id__exact={}">{}</a>', url, row.pk, row.participant_count)

    def remove(self, obj: Institution, *, actor: str, reason: str) -> None:
        registry.remove_institution(obj, actor=actor, reason=reason)

    def protected(self, objs: list[Institution]) -> list[str]:
        return [
            gettext("%(row)s still has participants") % {"row": row}
            for row in objs
            if row.participants.present().exists()
        ]

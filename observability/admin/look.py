"""What the pages of observability share: colours beside words, times, and filters of one line."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from observability.models import Alert
from observability.states import State
from participants.models import Institution

GREEN, AMBER, RED, GREY = "#2b7a3d", "#8a5a00", "#b3261e", "#666"
COLOURS: dict[str, str] = {
    State.OK: GREEN,
    State.DEGRADED: AMBER,
    State.LATE: AMBER,
    State.DOWN: RED,
    State.SILENT: RED,
    State.NEVER_HEARD: GREY,
}
LEVEL_COLOURS: dict[str, str] = {Alert.Level.WARNING: AMBER, Alert.Level.CRITICAL: RED}


def ago(at: datetime | None) -> SafeString | str:
    """`3 minutes ago`, with the time itself behind it."""
    if at is None:
        return "never"
    seconds = (timezone.now() - at).total_seconds()
    said = f"{max(0, int(seconds))} s ago" if seconds < 60 else f"{timesince(at, depth=1)} ago"
    return format_html('<span title="{}">{}</span>', localize(timezone.localtime(at)), said)


DROPDOWN = "admin/observability/dropdown_filter.html"


class DropdownFilter(admin.SimpleListFilter):
    """Takes one line, however long its list is."""

    template = DROPDOWN


class InstitutionFilter(DropdownFilter):
    title = "institution"
    parameter_name = "institution"
    path = "institution"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(pk), name) for pk, name in Institution.objects.present().values_list("pk", "name")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(**{self.path: int(value)}) if value and value.isdecimal() else queryset


class DropdownChoices(admin.ChoicesFieldListFilter):
    template = DROPDOWN

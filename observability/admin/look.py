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
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from observability.models import Alert
from observability.states import State
from participants.admin.look import AMBER, GREEN, GREY, RED
from participants.models import Institution

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
        return gettext("never")
    seconds = (timezone.now() - at).total_seconds()
    said = (
        gettext("%(seconds)s s ago") % {"seconds": max(0, int(seconds))}
        if seconds < 60
        else gettext("%(at)s ago") % {"at": timesince(at, depth=1)}
    )
    return format_html('<span title="{}">{}</span>', localize(timezone.localtime(at)), said)


class InstitutionFilter(admin.SimpleListFilter):
    title = _("institution")
    parameter_name = "institution"
    path = "institution"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(pk), name) for pk, name in Institution.objects.present().values_list("pk", "name")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(**{self.path: int(value)}) if value and value.isdecimal() else queryset

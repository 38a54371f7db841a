"""The list of alerts, and what staff were told of each."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import localize
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from dmr_project.lib.sentences import shown
from observability.admin.look import LEVEL_COLOURS, ago
from observability.models import Alert
from participants.admin import ReadOnlyAdmin, badge
from participants.admin.filters import NamedFilter
from participants.admin.look import GREY, told


class OpenFilter(admin.SimpleListFilter):
    title = _("open or closed")
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", gettext("Open")), ("no", gettext("Closed"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(recovered_at__isnull=self.value() == "yes") if self.value() else queryset


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = ("state", "kind", "instance", "began", "recovered_at", "said")
    list_filter = (OpenFilter, "kind", "level", ("participant__institution", NamedFilter))
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("participant__name", "participant__institution__name")
    search_help_text = _("Instance or institution")
    list_select_related = ("participant__institution",)
    list_per_page = 100
    show_full_result_count = False
    fields = ("state", "kind", "level", "participant", "since", "recovered_at", "why", "said", "told")
    readonly_fields = fields
    said, why = told("message", _("message")), told("reason", _("closed because"))

    @admin.display(description=_("state"), ordering="recovered_at")
    def state(self, row: Alert) -> SafeString:
        if row.is_open:
            return badge(
                gettext("Open, %(level)s") % {"level": row.get_level_display().lower()}, LEVEL_COLOURS[row.level]
            )
        return badge(gettext("Closed"), GREY)

    @admin.display(description=_("instance"), ordering="participant__name")
    def instance(self, row: Alert) -> SafeString | str:
        if row.participant.type != row.participant.Type.CHATBOT or row.participant.deleted_at is not None:
            return row.participant.name
        url = reverse("admin:observability_instance_change", args=[row.participant_id])
        return format_html('<a href="{}">{}</a>', url, row.participant.name)

    @admin.display(description=_("since"), ordering="since")
    def began(self, row: Alert) -> SafeString | str:
        return ago(row.since)

    @admin.display(description=_("what staff were told"))
    def told(self, row: Alert) -> SafeString:
        lines = [
            format_html(
                "{}: {} ({})", localize(timezone.localtime(each.at)), shown(each.message), _mail(each.notified_at)
            )
            for each in row.changes.all()
        ]
        return format_html_join(mark_safe("<br>"), "{}", ((each,) for each in lines))


def _mail(at: datetime | None) -> str:
    return gettext("told %(at)s") % {"at": localize(timezone.localtime(at))} if at else gettext("not told yet")

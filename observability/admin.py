"""The fleet and its alerts in Django admin: to look at, never to write."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from observability import fleet
from observability.fleet import Standard
from observability.models import Alert, Component, Instance, StateChange, VitalSigns
from observability.querysets import InstanceQuerySet
from observability.states import Health, State
from observability.traffic import MOST_COUNTED, Traffic, traffic_of
from participants.admin import ReadOnlyAdmin, badge
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
HISTORY_ROWS = 50


def ago(at: datetime | None) -> SafeString | str:
    """`3 minutes ago`, with the time itself behind it."""
    if at is None:
        return "never"
    seconds = (timezone.now() - at).total_seconds()
    said = f"{max(0, int(seconds))} s ago" if seconds < 60 else f"{timesince(at, depth=1)} ago"
    return format_html('<span title="{}">{}</span>', localize(timezone.localtime(at)), said)


def gibibytes(count: int | None) -> str:
    return "–" if count is None else f"{count / 2**30:.1f} GiB"


class DropdownFilter(admin.SimpleListFilter):
    """A list that may be long: institutions, versions."""

    template = "admin/observability/dropdown_filter.html"


class InstitutionFilter(DropdownFilter):
    title = "institution"
    parameter_name = "institution"
    path = "institution"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(pk), name) for pk, name in Institution.objects.present().values_list("pk", "name")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(**{self.path: int(value)}) if value and value.isdecimal() else queryset


class AlertInstitutionFilter(InstitutionFilter):
    path = "participant__institution"


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("unwell", "Anything but OK"), *((state.value, str(state.label)) for state in State)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "unwell":
            return queryset.exclude(state__in=(State.OK.value, State.NEVER_HEARD.value))
        return queryset.filter(state=self.value()) if self.value() else queryset


class VersionFilter(DropdownFilter):
    title = "version"
    parameter_name = "version"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        rows = VitalSigns.objects.exclude(release_version="").order_by("release_version")
        return [(each, each) for each in rows.values_list("release_version", flat=True).distinct()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(vital_signs__release_version=self.value()) if self.value() else queryset


class BehindFilter(admin.SimpleListFilter):
    title = "newest release"
    parameter_name = "behind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Behind it")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() != "yes":
            return queryset
        newest = standard_of(request)
        return queryset.behind(newest.current) if newest.version else queryset.none()


def standard_of(request: Any) -> Standard:
    """The newest release, read once a request."""
    if not hasattr(request, "fleet_standard"):
        request.fleet_standard = fleet.standard()
    found: Standard = request.fleet_standard
    return found


class FleetList(ChangeList):
    """A page of Instances, with what only these rows need: traffic, and whether they are behind."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        found = traffic_of([row.pk for row in rows])
        newest = standard_of(request)
        for row in rows:
            row.traffic = found.get(row.pk, Traffic())
            row.standard = newest
        self.result_list = rows


@admin.register(Instance)
class InstanceAdmin(ReadOnlyAdmin):
    """The fleet page, and a page for each Instance."""

    list_display = (
        "name", "owner", "state_badge", "version", "last_heard", "received", "sent", "failed", "backlog",
    )  # fmt: skip
    list_filter = (StateFilter, BehindFilter, VersionFilter, InstitutionFilter)
    search_fields = ("name", "institution__name", "host")
    search_help_text = "Name, institution or endpoint"
    list_per_page = 100
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = None
    change_list_template = "admin/observability/fleet.html"
    change_form_template = "admin/observability/instance.html"
    fields = (
        "name", "owner", "state_badge", "status", "version", "manifest", "last_heard", "period", "agent_version",
        "uptime", "load", "memory_used", "disk_free", "host",
    )  # fmt: skip
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> InstanceQuerySet:
        return Instance.objects.fleet(timezone.now()).worst_first()

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return ("rank", "name")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return FleetList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        summary = fleet.summary(standard_of(request), timezone.now())
        states = [(state, state.label, COLOURS[state], count) for state, count in summary.states.items() if count]
        context = {
            "title": "Fleet",
            "fleet": summary,
            "states": states,
            "open_alerts": Alert.objects.open().count(),
            "at": timezone.localtime(),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        key = int(object_id) if object_id.isdecimal() else 0
        context = {
            "components": [
                (row, badge(row.health, COLOURS[Health(row.health).value]))
                for row in Component.objects.filter(participant=key)
            ],
            "alerts": Alert.objects.filter(participant=key)[:HISTORY_ROWS],
            "changes": StateChange.objects.filter(participant=key)[:HISTORY_ROWS],
            "traffic": traffic_of([key])[key],
        }
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        row: Any = super().get_object(request, object_id, from_field)
        if row is not None:
            row.standard = standard_of(request)
        return row

    @admin.display(description="institution", ordering="institution__name")
    def owner(self, row: Any) -> str:
        return str(row.institution)

    @admin.display(description="state", ordering="rank")
    def state_badge(self, row: Any) -> SafeString:
        state = State(row.state)
        text = state.label if row.is_reachable else f"{state.label} ({row.get_status_display().lower()})"
        return badge(text, COLOURS[state])

    @admin.display(description="version", ordering="vital_signs__release_version")
    def version(self, row: Any) -> SafeString | str:
        signs = signs_of(row)
        if signs is None or not signs.release_version:
            return "–"
        if row.standard.is_behind(signs.release_version):
            text = format_html("{} <small>behind {}</small>", signs.release_version, row.standard.version)
            return badge(text, AMBER)
        return signs.release_version

    @admin.display(description="last heard", ordering="vital_signs__last_heard_at")
    def last_heard(self, row: Any) -> SafeString | str:
        signs = signs_of(row)
        return ago(signs.last_heard_at) if signs else "never"

    @admin.display(description="in, 1 h")
    def received(self, row: Any) -> str:
        return f"{row.traffic.received:,}"

    @admin.display(description="out, 1 h")
    def sent(self, row: Any) -> str:
        return f"{row.traffic.sent:,}"

    @admin.display(description="failures, 1 h")
    def failed(self, row: Any) -> SafeString | str:
        return badge(f"{row.traffic.failed:,}", RED) if row.traffic.failed else "0"

    @admin.display(description="backlog")
    def backlog(self, row: Any) -> str:
        count = row.traffic.backlog
        return f"over {MOST_COUNTED:,}" if count > MOST_COUNTED else f"{count:,}"

    @admin.display(description="manifest digest")
    def manifest(self, row: Any) -> str:
        signs = signs_of(row)
        return (signs.manifest_digest if signs else "") or "–"

    @admin.display(description="checks in every")
    def period(self, row: Any) -> str:
        signs = signs_of(row)
        return f"{signs.period} s" if signs else "–"

    @admin.display(description="agent")
    def agent_version(self, row: Any) -> str:
        signs = signs_of(row)
        return signs.agent_version if signs else "–"

    @admin.display(description="up for")
    def uptime(self, row: Any) -> str:
        signs = signs_of(row)
        if signs is None or signs.uptime_seconds is None:
            return "–"
        hours, rest = divmod(signs.uptime_seconds, 3600)
        return f"{hours // 24} d {hours % 24} h" if hours >= 24 else f"{hours} h {rest // 60} min"

    @admin.display(description="load (1 min)")
    def load(self, row: Any) -> str:
        signs = signs_of(row)
        return "–" if signs is None or signs.load1 is None else f"{signs.load1:.2f}"

    @admin.display(description="memory used")
    def memory_used(self, row: Any) -> str:
        signs = signs_of(row)
        return gibibytes(signs.memory_used_bytes if signs else None)

    @admin.display(description="disk free")
    def disk_free(self, row: Any) -> str:
        signs = signs_of(row)
        return gibibytes(signs.disk_free_bytes if signs else None)


def signs_of(row: Any) -> VitalSigns | None:
    """Its vital signs, which came with the row; None where its agent was never heard of."""
    return getattr(row, "vital_signs", None)


class OpenFilter(admin.SimpleListFilter):
    title = "open"
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Open"), ("no", "Closed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(recovered_at__isnull=self.value() == "yes") if self.value() else queryset


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = ("state", "kind", "instance", "institution", "began", "recovered_at", "message", "reason")
    list_filter = (OpenFilter, "kind", "level", AlertInstitutionFilter)
    search_fields = ("participant__name", "participant__institution__name")
    search_help_text = "Instance or institution"
    list_select_related = ("participant__institution",)
    list_per_page = 100
    show_full_result_count = False
    fields = ("state", "kind", "level", "participant", "since", "recovered_at", "reason", "message", "told")
    readonly_fields = fields

    @admin.display(description="state", ordering="recovered_at")
    def state(self, row: Alert) -> SafeString:
        if row.is_open:
            return badge(f"Open, {row.get_level_display().lower()}", LEVEL_COLOURS[row.level])
        return badge("Closed", GREY)

    @admin.display(description="instance", ordering="participant__name")
    def instance(self, row: Alert) -> SafeString | str:
        if row.participant.type != row.participant.Type.CHATBOT or row.participant.deleted_at is not None:
            return row.participant.name
        url = reverse("admin:observability_instance_change", args=[row.participant_id])
        return format_html('<a href="{}">{}</a>', url, row.participant.name)

    @admin.display(description="institution", ordering="participant__institution__name")
    def institution(self, row: Alert) -> str:
        return row.participant.institution.name

    @admin.display(description="since", ordering="since")
    def began(self, row: Alert) -> SafeString | str:
        return ago(row.since)

    @admin.display(description="what staff were told")
    def told(self, row: Alert) -> SafeString:
        lines = [
            format_html("{}: {} ({})", localize(timezone.localtime(each.at)), each.message, _mail(each.notified_at))
            for each in row.changes.all()
        ]
        return format_html("<br>".join("{}" for _ in lines), *lines)


def _mail(at: datetime | None) -> str:
    return f"told {localize(timezone.localtime(at))}" if at else "not told yet"

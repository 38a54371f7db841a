"""The fleet page, and the page of one Instance."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from observability import fleet
from observability.admin import overview
from observability.admin.look import COLOURS, ago
from observability.fleet import Standard
from observability.models import Alert, Component, Instance, StateChange, VitalSigns
from observability.querysets import InstanceQuerySet
from observability.states import Health, State
from observability.traffic import MOST_COUNTED, Traffic, traffic_of
from participants.admin import ReadOnlyAdmin, badge
from participants.admin.filters import MOST_LISTED, NamedFilter
from participants.admin.keys import may_be_key
from participants.admin.look import AMBER, RED
from relay.models import Breaker

HISTORY_ROWS = 50


def gibibytes(count: int | None) -> str:
    return "–" if count is None else gettext("%(number)s GiB") % {"number": f"{count / 2**30:.1f}"}


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("unwell", gettext("Anything but OK")), *((state.value, str(state.label)) for state in State)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "unwell":
            return queryset.exclude(state__in=(State.OK.value, State.NEVER_HEARD.value))
        return queryset.filter(state=self.value()) if self.value() else queryset


class VersionFilter(admin.SimpleListFilter):
    title = _("version")
    parameter_name = "version"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Those that most run, and the one that was asked for."""
        rows = (
            VitalSigns.objects.exclude(release_version="").values_list("release_version").annotate(count=Count("pk"))
        )
        found = {version for version, _count in rows.order_by("-count", "-release_version")[:MOST_LISTED]}
        asked = request.GET.get(self.parameter_name)
        return [(each, each) for each in sorted(found | ({asked} if asked else set()))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(vital_signs__release_version=self.value()) if self.value() else queryset


class BehindFilter(admin.SimpleListFilter):
    title = _("newest release")
    parameter_name = "behind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", gettext("Behind it"))]

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
    """A page of Instances, the worst first, with what only these rows need: traffic, and whether they are behind."""

    def _get_default_ordering(self) -> tuple[str, ...]:
        return ("rank", "name")

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
    list_filter = (StateFilter, BehindFilter, VersionFilter, ("institution", NamedFilter))
    search_fields = ("name", "institution__name", "host")
    search_help_text = _("Name, institution or endpoint")
    list_per_page = 100
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = None
    change_list_template = "admin/observability/fleet.html"
    change_form_template = "admin/observability/instance.html"
    fields = (
        ("state_badge", "last_heard", "status"),
        ("version", "manifest"),
        ("agent_version", "period"),
        ("uptime", "load", "memory_used", "disk_free"),
        ("received", "sent", "failed", "backlog"),
        ("owner", "endpoint"),
    )
    readonly_fields = tuple(name for line in fields for name in line)

    def get_urls(self) -> list[URLPattern]:
        of_any = path(
            "participant/<int:pk>/", self.admin_site.admin_view(overview.view), name="observability_instance_overview"
        )
        return [of_any, *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> InstanceQuerySet:
        return Instance.objects.fleet(timezone.now()).worst_first()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return FleetList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        summary = fleet.summary(standard_of(request), timezone.now())
        states = [(state, state.label, COLOURS[state], count) for state, count in summary.states.items() if count]
        context = {
            "title": gettext("Fleet"),
            "fleet": summary,
            "states": states,
            "open_alerts": Alert.objects.open().count(),
            "at": timezone.localtime(),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        key = int(object_id) if object_id.isdecimal() and may_be_key(self.model, object_id) else 0
        context = {
            "components": [
                (row, badge(row.get_health_display(), COLOURS[Health(row.health).value]))
                for row in Component.objects.filter(participant=key)
            ],
            "alerts": Alert.objects.filter(participant=key)[:HISTORY_ROWS],
            "changes": StateChange.objects.filter(participant=key)[:HISTORY_ROWS],
        }
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        row: Any = super().get_object(request, object_id, from_field)
        if row is not None:
            row.standard = standard_of(request)
            row.traffic = traffic_of([row.pk])[row.pk]
        return row

    @admin.display(description=_("institution"), ordering="institution__name")
    def owner(self, row: Any) -> str:
        return str(row.institution)

    @admin.display(description=_("state"), ordering="rank")
    def state_badge(self, row: Any) -> SafeString:
        state = State(row.state)
        text = state.label if row.is_reachable else f"{state.label} ({row.get_status_display().lower()})"
        if row.is_held(timezone.now()):
            text = gettext("%(state)s (in an outage)") % {"state": text}
        return badge(text, COLOURS[state])

    @admin.display(description=_("version"), ordering="vital_signs__release_version")
    def version(self, row: Any) -> SafeString | str:
        signs = signs_of(row)
        if signs is None or not signs.release_version:
            return "–"
        if row.standard.is_behind(signs.release_version):
            text = format_html(
                "{} <small>{}</small>",
                signs.release_version,
                gettext("behind %(version)s") % {"version": row.standard.version},
            )
            return badge(text, AMBER)
        return signs.release_version

    @admin.display(description=_("last heard"), ordering="vital_signs__last_heard_at")
    def last_heard(self, row: Any) -> SafeString | str:
        signs = signs_of(row)
        return ago(signs.last_heard_at) if signs else gettext("never")

    @admin.display(description=_("in, 1 h"))
    def received(self, row: Any) -> str:
        return f"{row.traffic.received:,}"

    @admin.display(description=_("out, 1 h"))
    def sent(self, row: Any) -> str:
        return f"{row.traffic.sent:,}"

    @admin.display(description=_("failures, 1 h"))
    def failed(self, row: Any) -> SafeString | str:
        return badge(f"{row.traffic.failed:,}", RED) if row.traffic.failed else "0"

    @admin.display(description=_("backlog"))
    def backlog(self, row: Any) -> SafeString | str:
        return backlog_of(row)

    @admin.display(description=_("in the registry"))
    def status(self, row: Any) -> str:
        return str(row.get_status_display())

    @admin.display(description=_("endpoint"))
    def endpoint(self, row: Any) -> str:
        return str(row.host)

    @admin.display(description=_("manifest digest"))
    def manifest(self, row: Any) -> str:
        signs = signs_of(row)
        return (signs.manifest_digest if signs else "") or "–"

    @admin.display(description=_("checks in every"))
    def period(self, row: Any) -> str:
        signs = signs_of(row)
        return f"{signs.period} s" if signs else "–"

    @admin.display(description=_("agent"))
    def agent_version(self, row: Any) -> str:
        signs = signs_of(row)
        return signs.agent_version if signs else "–"

    @admin.display(description=_("up for"))
    def uptime(self, row: Any) -> str:
        signs = signs_of(row)
        if signs is None or signs.uptime_seconds is None:
            return "–"
        hours, rest = divmod(signs.uptime_seconds, 3600)
        return (
            f"{hours // 24} d {hours % 24} h"
            if hours >= 24
            else gettext("%(hours)s h %(minutes)s min") % {"hours": hours, "minutes": rest // 60}
        )

    @admin.display(description=_("load (1 min)"))
    def load(self, row: Any) -> str:
        signs = signs_of(row)
        return "–" if signs is None or signs.load1 is None else f"{signs.load1:.2f}"

    @admin.display(description=_("memory used"))
    def memory_used(self, row: Any) -> str:
        signs = signs_of(row)
        return gibibytes(signs.memory_used_bytes if signs else None)

    @admin.display(description=_("disk free"))
    def disk_free(self, row: Any) -> str:
        signs = signs_of(row)
        return gibibytes(signs.disk_free_bytes if signs else None)


def backlog_of(row: Any) -> SafeString | str:
    """How much waits for it, and why nothing of that goes out where its breaker is not closed."""
    count = row.traffic.backlog
    text = (
        gettext("over %(most_counted)s") % {"most_counted": f"{MOST_COUNTED:,}"}
        if count > MOST_COUNTED
        else f"{count:,}"
    )
    breaker: Breaker | None = getattr(row, "breaker", None)
    if breaker is None or breaker.state == Breaker.State.CLOSED:
        return text
    return badge(
        gettext("%(text)s, breaker %(state)s") % {"text": text, "state": breaker.get_state_display().lower()}, RED
    )


def signs_of(row: Any) -> VitalSigns | None:
    """Its vital signs, which came with the row; None where its agent was never heard of."""
    return getattr(row, "vital_signs", None)

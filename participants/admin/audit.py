"""The audit log in Django admin: everything that was done, to be filtered, looked at and exported."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time, timedelta
from itertools import islice
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from participants import audit, audit_words, history
from participants.admin.look import (
    AMBER,
    BLUE,
    GREY,
    RED,
    VIOLET,
    CappedPaginator,
    ReadOnlyAdmin,
    actor,
    badge,
    chosen_by_filters,
    differences,
    told,
)
from participants.models import ActorKind, Change, Institution

MOST_EXPORTED = 50_000  # entries by this page; the command takes any number
KIND_COLOURS = {ActorKind.PERSON: BLUE, ActorKind.KEY: AMBER, ActorKind.PARTICIPANT: VIOLET}
# Where objects of a kind have a page of their own: the admin's URL name, and the field that the entry names it by.
PAGES = {
    "institution": ("participants_institution", "public_id"),
    "participant": ("participants_participant", "public_id"),
    "room": ("participants_room", "pk"),
    "apikey": ("participants_apikey", "pk"),
    "user": ("auth_user", "pk"),
    "release": ("updates_release", "public_id"),
    "rollout": ("updates_rollout", "public_id"),
    "staffkey": ("updates_staffkey", "pk"),
}


class Asked(admin.SimpleListFilter):
    """A filter whose value is typed in the form above the list."""

    template = "admin/participants/change/no_filter.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return []

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = (self.value() or "").strip()
        return self.choose(queryset, value) if value else queryset

    def choose(self, rows: Any, value: str) -> Any:
        return rows.filter(**{self.parameter_name or "": value})


class ActorFilter(Asked):
    title, parameter_name = _("who"), "actor"


class ActionFilter(Asked):
    title, parameter_name = _("action"), "action"


class KindFilter(Asked):
    title, parameter_name = _("kind of object"), "kind"


class ObjectFilter(Asked):
    title, parameter_name = _("object"), "object"

    def choose(self, rows: Any, value: str) -> Any:
        """By its name or, as exports and addresses have it, its id."""
        return (
            rows.filter(subject_id=value)
            if len(value) == 36 and value.count("-") == 4
            else rows.filter(subject=value)
        )


class InstitutionFilter(Asked):
    title, parameter_name = _("institution"), "institution"

    def choose(self, rows: Any, value: str) -> Any:
        ids = Institution.objects.filter(name=value).values_list("public_id", flat=True)
        return rows.filter(institution__in=list(ids))


class SinceFilter(Asked):
    title, parameter_name = _("since"), "since"

    def choose(self, rows: Any, value: str) -> Any:
        since = day(value)
        return rows.filter(at__gte=since) if since else rows.none()


class UntilFilter(Asked):
    """The day itself is still in."""

    title, parameter_name = _("until"), "until"

    def choose(self, rows: Any, value: str) -> Any:
        until = day(value)
        return rows.filter(at__lt=until + timedelta(days=1)) if until else rows.none()


def day(text: str) -> datetime | None:
    """The beginning of a day in Estonia; None where it is none."""
    try:
        found = parse_date(text)
    except ValueError:
        found = None
    return timezone.make_aware(datetime.combine(found, time())) if found else None


@admin.register(Change)
class ChangeAdmin(ReadOnlyAdmin):
    list_display = ("when", "who", "address", "done", "thing", "institution_name", "what", "why")
    list_display_links = ("when",)
    list_filter = (ActorFilter, ActionFilter, KindFilter, ObjectFilter, InstitutionFilter, SinceFilter, UntilFilter)
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator
    ordering = ("-number",)
    sortable_by = ()
    actions = None
    change_list_template = "admin/participants/change/change_list.html"
    fields = (
        "number", "when", "who", "address", "done", "thing", "institution_name", "what_changed", "why",
        "hash", "previous_hash",
    )  # fmt: skip
    readonly_fields = fields
    why = told("reason", _("reason"))

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        # By time where a time is asked for, so that the index on it serves both.
        return ("-at", "-number") if request.GET.get("since") or request.GET.get("until") else ("-number",)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {
            "title": gettext("Audit log"),
            "actions_known": [(each, audit_words.action(each)) for each in audit_words.ACTIONS],
            "kinds_known": [(each, audit_words.kind(each)) for each in sorted(PAGES)],
            "institutions": Institution.objects.present().values_list("name", flat=True),
            "query": request.GET.urlencode(),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    @admin.display(description=_("when"))
    def when(self, row: Change) -> str:
        return timezone.localtime(row.at).strftime("%Y-%m-%d %H:%M:%S")

    @admin.display(description=_("who"))
    def who(self, row: Change) -> SafeString:
        if row.actor_kind == ActorKind.UNKNOWN:
            return badge(gettext("nobody known"), RED)
        label = row.actor if row.actor_kind == ActorKind.PERSON else f"{row.actor} ({row.get_actor_kind_display()})"
        return badge(label, KIND_COLOURS.get(ActorKind(row.actor_kind), GREY))

    @admin.display(description=_("action"))
    def done(self, row: Change) -> str:
        return audit_words.action(row.action)

    @admin.display(description=_("object"))
    def thing(self, row: Change) -> SafeString:
        page, field = PAGES.get(row.kind, ("", ""))
        kind = audit_words.kind(row.kind)
        try:
            if field == "pk":
                url = reverse(f"admin:{page}_change", args=[row.subject_id])
            else:
                url = f"{reverse(f'admin:{page}_changelist')}?{field}={row.subject_id}"
        except NoReverseMatch:
            return format_html("{} {}", kind, row.subject)
        return format_html('{} <a href="{}">{}</a>', kind, url, row.subject or "–")

    @admin.display(description=_("what"))
    def what(self, row: Change) -> str:
        said = (f"{name}: {after}" if before == "–" else f"{name}: {before} → {after}" for name, before, after
                in islice(differences(row), 4))  # fmt: skip
        return "; ".join(said)[:200]

    @admin.display(description=_("what"))
    def what_changed(self, row: Change) -> SafeString:
        lines = format_html_join("", "<tr><th>{}</th><td>{}</td><td>{}</td></tr>", differences(row))
        head = format_html("<tr><th></th><th>{}</th><th>{}</th></tr>", gettext("before"), gettext("after"))
        return format_html("<table>{}{}</table>", head, lines)

    def get_urls(self) -> list[URLPattern]:
        export = path("export/", self.admin_site.admin_view(self.export), name="participants_change_export")
        return [export, *super().get_urls()]

    def export(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """What the filters choose, as JSON lines, the oldest first."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        chosen = chosen_by_filters(self, request)
        rows = chosen.filter(number__isnull=False).order_by("number")
        if rows[MOST_EXPORTED : MOST_EXPORTED + 1]:
            said = gettext(
                "These are more than %(most_exported)s entries: choose fewer, or use `manage.py audit export`."
            ) % {"most_exported": f"{MOST_EXPORTED:,}"}
            messages.error(request, said)
            url = reverse("admin:participants_change_changelist")
            return HttpResponseRedirect(f"{url}?{request.GET.urlencode()}")
        asked = {name: value for name, value in request.GET.items() if value}
        history.note("export", actor(request), kind="auditlog", after=asked)
        name = f"audit-{timezone.localtime():%Y-%m-%d}.jsonl"
        response = StreamingHttpResponse(lines(rows), content_type="application/jsonl")
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        response["Cache-Control"] = "no-store"
        return response


def lines(rows: Any) -> Iterator[str]:
    for change in audit.in_batches(rows):
        yield audit.as_json(change) + "\n"

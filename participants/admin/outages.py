"""Outages in Django admin: announced and ended, and a calendar of them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.formats import localize
from django.utils.safestring import SafeString
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from participants import calendar_feeds, outage_calendar, outages
from participants.admin.bulk import Foreseen, PerhapsWhy, each, previewed
from participants.admin.filters import NamedFilter
from participants.admin.keys import AutocompleteSelect, AutocompleteSelectMultiple, ModelMultipleChoiceField
from participants.admin.look import AMBER, GREY, RED, actor, badge
from participants.admin.pages import DomainAdmin
from participants.models import Institution, Outage, Participant

State = Outage.State

COLOURS = {State.NEXT: AMBER, State.NOW: RED, State.OVER: GREY, State.CANCELLED: GREY}
MOST_NAMED = 50
MOST_NEXT = 20


class Moment(forms.DateTimeField):
    widget = forms.DateTimeInput(attrs={"type": "datetime-local"})


class AnnounceForm(forms.Form):
    kind = forms.ChoiceField(label=gettext_lazy("Kind"), choices=Outage.Kind.choices)
    begins_at = Moment(label=gettext_lazy("Begins"), required=False, help_text=gettext_lazy("Empty: now."))
    ends_at = Moment(
        label=gettext_lazy("Ends"),
        required=False,
        help_text=gettext_lazy("Empty: until somebody ends it. A planned one has an end."),
    )
    institution = forms.ModelChoiceField(
        Institution.objects.present(),
        label=gettext_lazy("Institution"),
        required=False,
        widget=AutocompleteSelect(Outage._meta.get_field("institution"), admin.site),
        help_text=gettext_lazy("All its participants, also those that join it later. Or else name participants:"),
    )
    participants = ModelMultipleChoiceField(
        Participant.objects.present(),
        label=gettext_lazy("Participants"),
        required=False,
        widget=AutocompleteSelectMultiple(Outage._meta.get_field("participants"), admin.site),
    )
    text_et = forms.CharField(label=gettext_lazy("Text in Estonian"), max_length=255, required=False)
    text_en = forms.CharField(label=gettext_lazy("Text in English"), max_length=255, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("text_et", "text_en"):
            self.fields[name].widget.attrs["class"] = "vTextField"


def ended(admin: Any, request: HttpRequest, row: Outage) -> Foreseen:
    what = f"{row.whose}: {row.text}"
    state = row.state(timezone.now())
    after = {State.NOW: State.OVER, State.NEXT: State.CANCELLED}.get(state)
    if after is None:
        return Foreseen(left=_("is over already"), what=what)
    return Foreseen(str(state.label), str(after.label), what=what)


class DayFilter(admin.SimpleListFilter):
    """Those with a moment in that day, as the calendar has them."""

    title = gettext_lazy("on the day")
    parameter_name = "day"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        today = timezone.localdate()
        days = {today: _("Today"), today + timedelta(days=1): _("Tomorrow")}
        asked = _day_of(request.GET.get(self.parameter_name, ""))
        if asked and asked not in days:
            days[asked] = localize(asked)
        return [(day.isoformat(), said) for day, said in days.items()]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        day = _day_of(self.value() or "")
        if day is None:
            return queryset
        begin, end = (outage_calendar.midnight(each) for each in (day, day + timedelta(days=1)))
        return queryset.filter(pk__in=Outage.objects.within(begin, end).order_by().values("pk"))


@admin.register(Outage)
class OutageAdmin(DomainAdmin):
    list_display = ("begins_at", "ends", "state_now", "kind", "whose", "text", "announced_by")
    list_filter = ("kind", DayFilter, "begins_at", ("institution", NamedFilter))
    list_select_related = ("institution",)
    search_fields = ("participants__name", "institution__name", "text_et", "text_en")
    fields = (
        "state_now", "kind", "begins_at", "ends_at", "ended_at", "institution", "affected", "text_et", "text_en",
        "announced_by", "announced_at",
    )  # fmt: skip
    readonly_fields = ("state_now", "affected")
    change_form_template = "admin/participants/steered.html"
    change_list_template = "admin/participants/outage/change_list.html"
    new_form = AnnounceForm
    new_title = gettext_lazy("Announce an outage")
    new_button = gettext_lazy("Announce")
    new_help = gettext_lazy(
        "While it lasts, messages to the affected are held, and nothing alarms about them. The others are told now, "
        "and when it is over."
    )
    permissions = {"end": "participants.end_outage"}
    actions = ("end_all",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Outage]:
        return Outage.objects.prefetch_related("participants")

    def has_end_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "end")

    @admin.display(description=gettext_lazy("state"))
    def state_now(self, row: Outage) -> SafeString:
        state = row.state(timezone.now())
        return badge(str(state.label), COLOURS[state])

    @admin.display(description=gettext_lazy("ends"), ordering="ends_at")
    def ends(self, row: Outage) -> str:
        return localize(timezone.localtime(row.until)) if row.until else _("open")

    @admin.display(description=gettext_lazy("whose"))
    def whose(self, row: Outage) -> str:
        return row.whose

    @admin.display(description=gettext_lazy("text"))
    def text(self, row: Outage) -> str:
        return row.text

    @admin.display(description=gettext_lazy("affected participants"))
    def affected(self, row: Outage) -> str:
        found = [each.name for each in outages.affected_by(row)]
        more = _(" and %(count)s more") % {"count": len(found) - MOST_NAMED} if len(found) > MOST_NAMED else ""
        return ", ".join(found[:MOST_NAMED]) + more or "–"

    def create(self, request: HttpRequest, data: dict[str, Any]) -> tuple[Outage, str]:
        row = Outage(
            kind=data["kind"],
            begins_at=data["begins_at"] or timezone.now(),
            ends_at=data["ends_at"],
            institution=data["institution"],
            text_et=data["text_et"].strip(),
            text_en=data["text_en"].strip(),
        )
        outages.announce(row, actor=actor(request), participants=data["participants"])
        return row, _("The outage is announced.")

    def buttons(self, row: Outage) -> dict[str, tuple[str, str]]:
        state = row.state(timezone.now())
        if state == State.NOW:
            return {"end": (_("It is over"), _("What waits is delivered, and the others are told."))}
        if state == State.NEXT:
            return {"end": (_("Cancel it"), _("Nothing is held, and the others are told."))}
        return {}

    def act(self, request: HttpRequest, row: Outage, name: str) -> str:
        ended = outages.end(row, actor=actor(request), reason=request.POST.get("reason", ""))
        return _("The outage is %(state)s.") % {"state": ended.state(timezone.now()).label}

    @previewed(
        ended,
        description=gettext_lazy("End or cancel: what waits is delivered"),
        permissions=["end"],
        form=PerhapsWhy,
        done=gettext_lazy("%(count)s ended; %(left)s were over already."),
    )
    def end_all(self, request: HttpRequest, rows: list[Outage], said: dict[str, Any]) -> int:
        return each(request, rows, lambda row: outages.end(row, actor=actor(request), reason=said["reason"]))

    # -- the calendar --

    def get_urls(self) -> list[URLPattern]:
        page = path(
            "calendar/", self.admin_site.admin_view(never_cache(self.calendar)), name="participants_outage_calendar"
        )
        return [page, *super().get_urls()]

    def calendar(self, request: HttpRequest) -> HttpResponse:
        """A month, and what is now and next. A POST gives the address of one's own feed, once."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        address = ""
        if request.method == "POST":
            user: Any = request.user
            address = f"{calendar_feeds.make(user=user)}?lang={get_language()}"
            messages.success(request, _("Copy the address now: it is shown once, and the former one is void."))
        now = timezone.now()
        first = _month_of(request.GET.get("month", ""), timezone.localdate(now))
        rows = Outage.objects.select_related("institution").prefetch_related("participants")
        context = {
            **self.admin_site.each_context(request),
            "title": _("Calendar of outages"),
            "opts": self.opts,
            "first": first,
            "today": timezone.localdate(now),
            "before": _month_before(first),
            "after": _month_after(first),
            "weeks": outage_calendar.month(first.year, first.month),
            "now": list(rows.now(now).order_by("begins_at")[:MOST_NEXT]),
            "next": list(rows.not_over(now).filter(begins_at__gt=now).order_by("begins_at")[:MOST_NEXT]),
            "address": address,
            "may_announce": self.has_add_permission(request),
        }
        return TemplateResponse(request, "admin/participants/outage/calendar.html", context)


def _day_of(text: str) -> date | None:
    """From `2026-12-24`; None where it is none, or one that no calendar shows."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if 1970 <= found.year <= 9000 else None


def _month_of(text: str, today: date) -> date:
    """From `2026-12`; this month where it is none."""
    year, _dash, number = text.partition("-")
    if year.isdecimal() and number.isdecimal() and 1970 <= int(year[:5]) <= 9000 and 1 <= int(number[:3]) <= 12:
        return date(int(year[:5]), int(number[:3]), 1)
    return today.replace(day=1)


def _month_before(first: date) -> date:
    return date(first.year - (first.month == 1), (first.month - 2) % 12 + 1, 1)


def _month_after(first: date) -> date:
    return date(first.year + (first.month == 12), first.month % 12 + 1, 1)

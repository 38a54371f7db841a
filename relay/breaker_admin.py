"""Breakers in Django admin: which recipients fail, since when, what waits for them, and when they are tried."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy
from django.utils.translation import gettext_lazy as _

from dmr_project.lib.sentences import shown
from participants.admin import ReadOnlyAdmin, actor, badge
from participants.admin.acts import ActsOnPage
from participants.admin.bulk import Foreseen, previewed
from participants.admin.look import GREEN, RED, told
from relay.backlog import Backlog, backlogs
from relay.delivery import breaker
from relay.models import Breaker
from relay.outlook_admin import when

MOST_COUNTED = 1_000  # of what waits for one recipient


def closed(admin: Any, request: HttpRequest, row: Breaker) -> Foreseen:
    if row.state == Breaker.State.CLOSED:
        return Foreseen(left=gettext("closed already"), what=row.recipient.name)
    after = str(Breaker.State.CLOSED.label)
    return Foreseen(f"{row.get_state_display()}: {shown(row.last_error)}", after, what=row.recipient.name)


class BreakerList(ChangeList):
    """A page of breakers, with what waits behind them."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        found = backlogs([row.pk for row in rows], MOST_COUNTED + 1)
        for row in rows:
            row.backlog = found.get(row.pk, Backlog())
        self.result_list = rows


@admin.register(Breaker)
class BreakerAdmin(ActsOnPage, ReadOnlyAdmin):
    """Recipients that have failed, and whether they are tried now."""

    list_display = ("recipient", "state_badge", "waiting", "opened_at", "next", "failures", "what_failed")
    fields = ("of", "state_badge", "opened_at", "next", "waiting", "failures", "what_failed")
    readonly_fields = fields
    what_failed = told("last_error", _("last error"))
    list_filter = ("state",)
    list_select_related = ("recipient",)
    search_fields = ("recipient__name",)
    search_help_text = _("Recipient")
    ordering = ("-failures",)
    actions = ("close",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BreakerList

    def acts_on(self, row: Breaker) -> tuple[str, ...]:
        return () if row.state == Breaker.State.CLOSED else ("close",)

    def found_by(self, row: Breaker) -> str:
        return row.recipient.name

    @admin.display(description=_("recipient"))
    def of(self, row: Breaker) -> SafeString:
        url = reverse("admin:participants_participant_change", args=[row.pk])
        return format_html('<a href="{}">{}</a>', url, row.recipient.name)

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, row: Breaker) -> SafeString:
        return badge(row.get_state_display(), GREEN if row.state == Breaker.State.CLOSED else RED)

    @admin.display(description=_("waiting"))
    def waiting(self, row: Breaker) -> SafeString | str:
        count = backlog_of(row).count
        if not count:
            return "0"
        text = gettext("over %(count)s") % {"count": f"{MOST_COUNTED:,}"} if count > MOST_COUNTED else str(count)
        query = urlencode({"recipient": row.recipient.name, "state__exact": "pending"})
        return format_html('<a href="{}?{}">{}</a>', reverse("admin:relay_delivery_changelist"), query, text)

    @admin.display(description=_("next attempt"), ordering="probe_at")
    def next(self, row: Breaker) -> str:
        if row.state == Breaker.State.PARKED:
            return gettext("none until it is closed")
        if row.state == Breaker.State.CLOSED or row.probe_at is None:
            return "–"
        first = backlog_of(row).first_due_at
        if first is None:
            return gettext("with the next message to it")
        return when(max(first, row.probe_at), timezone.now())

    def has_close_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("relay.close_breaker")

    @previewed(
        closed,
        description=gettext_lazy("Close: try the recipient again now"),
        permissions=["close"],
        done=gettext_lazy("%(count)s closed. %(left)s were closed already."),
    )
    def close(self, request: HttpRequest, rows: list[Breaker], said: dict[str, Any]) -> int:
        return breaker.close(Breaker.objects.filter(pk__in=[row.pk for row in rows]), actor=actor(request))


def backlog_of(row: Any) -> Backlog:
    """As the list has read it for all its rows, else read for this one."""
    if not hasattr(row, "backlog"):
        row.backlog = backlogs([row.pk], MOST_COUNTED + 1).get(row.pk, Backlog())
    found: Backlog = row.backlog
    return found

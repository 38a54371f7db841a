"""What a delivery waits for, in words: on its list and its page, on its message's, and on its recipient's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from participants.outages import FOREVER
from relay import outlook
from relay.models import Delivery
from relay.outlook import Outlook, Why

IN_SECONDS, IN_MINUTES = 120, 120 * 60  # below that a pause is told in these


def look_ahead(rows: Iterable[Any]) -> None:
    """Once for all rows of a page, so that none of them asks by itself."""
    found = list(rows)
    ahead = outlook.ahead_of(found)
    for row in found:
        row.ahead = ahead.get(row.pk)


@admin.display(description=_("next attempt"))
def column(row: Any) -> SafeString | str:
    """Of a row with its recipient and that one's breaker."""
    ahead = row.ahead if hasattr(row, "ahead") else outlook.ahead_of([row]).get(row.pk)
    now = timezone.now()
    return said(outlook.decide(row, now, ahead), row, now)


def said(found: Outlook, row: Delivery, now: datetime) -> SafeString | str:
    return _WORDS[found.why](found, row, now)


def when(at: datetime, now: datetime) -> str:
    """`now`, `in 20 s`, `in 5 min, at 04:41`."""
    seconds = (at - now).total_seconds()
    if seconds <= 0:
        return gettext("now")
    if seconds < IN_SECONDS:
        return gettext("in %(wait)s s") % {"wait": f"{seconds:.0f}"}
    time = f"{timezone.localtime(at):%H:%M}"
    if seconds < IN_MINUTES:
        return gettext("in %(count)s min, at %(time)s") % {"count": f"{seconds / 60:.0f}", "time": time}
    return gettext("in %(count)s h, at %(time)s") % {"count": f"{seconds / 3600:.0f}", "time": time}


def _fetched(found: Outlook, row: Delivery, now: datetime) -> str:
    until = "–" if found.at is None else f"{timezone.localtime(found.at):%H:%M:%S}"
    return gettext("fetched; comes again at %(lease_until)s unless acknowledged") % {"lease_until": until}


def _held(text: str, until: datetime | None, now: datetime) -> str:
    if until is None or until >= FOREVER:
        return text
    return gettext("%(held)s; goes on %(when)s") % {"held": text, "when": when(until, now)}


def _status(found: Outlook, row: Delivery, now: datetime) -> str:
    status = row.recipient.get_status_display().lower() if row.recipient else "–"
    return _held(gettext("held: recipient %(status)s") % {"status": status}, found.at, now)


def _outage(found: Outlook, row: Delivery, now: datetime) -> str:
    return _held(gettext("held: an outage of the recipient"), found.at, now)


def _conversation(found: Outlook, row: Delivery, now: datetime) -> SafeString | str:
    if found.ahead is None:
        return "–"
    url = reverse("admin:relay_delivery_change", args=[found.ahead.delivery_id])
    link = format_html('<a href="{}">{}</a>', url, found.ahead.written_id[:8])
    return format_html(gettext("after {} of the same conversation"), link)


def _inbox(found: Outlook, row: Delivery, now: datetime) -> str:
    if found.at is None or found.at <= now:
        return gettext("in the inbox")
    return gettext("in the inbox %(when)s") % {"when": when(found.at, now)}


def _parked(found: Outlook, row: Delivery, now: datetime) -> SafeString:
    return format_html(gettext("held: the recipient said 410; {}"), _breaker_link(row, gettext("close its breaker")))


def _breaker(found: Outlook, row: Delivery, now: datetime) -> SafeString:
    at = when(found.at or now, now)
    return format_html(gettext("{}: one is tried {}"), _breaker_link(row, gettext("breaker open")), at)


def _breaker_link(row: Delivery, text: str) -> SafeString:
    url = reverse("admin:relay_breaker_change", args=[row.recipient_id])
    return format_html('<a href="{}">{}</a>', url, text)


_WORDS: dict[Why, Callable[[Outlook, Delivery, datetime], SafeString | str]] = {
    Why.ENDED: lambda found, row, now: "–",
    Why.UNDER_WAY: lambda found, row, now: gettext("under way now"),
    Why.FETCHED: _fetched,
    Why.STATUS: _status,
    Why.OUTAGE: _outage,
    Why.CONVERSATION: _conversation,
    Why.INBOX: _inbox,
    Why.PARKED: _parked,
    Why.BREAKER: _breaker,
    Why.TURN: lambda found, row, now: when(found.at or now, now),
}

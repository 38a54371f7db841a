"""Notices of API keys that expire: 30, 7 and 1 days ahead, by mail to the participant's contacts.

Each goes out once: which was the last is written down in the transaction of its mail. After days in which nothing
ran, the most urgent one that is due goes out, and those that it makes superfluous do not.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from participants import history, key_letters, metrics, statuses
from participants.models import ApiKey

DAYS = (30, 7, 1)
MOST = 500  # in one run; those that expire first
IN_USE = timedelta(days=1)  # since its last use, of a key that has a successor


def due(lifetime: timedelta, left: timedelta, noticed: int | None, days: tuple[int, ...] = DAYS) -> int | None:
    """Which notice is to go out now, in days ahead; None: none. Pure.

    `noticed` is the last that went out. A key that was issued for no longer than the days of a notice gets none then:
    whoever issued it knows.
    """
    passed = [each for each in days if left <= timedelta(days=each) < lifetime]
    if left <= timedelta(0) or not passed or (noticed is not None and min(passed) >= noticed):
        return None
    return min(passed)


def send() -> int:
    """Writes the mails that are due. Returns of how many keys."""
    now = timezone.now()
    successors = ApiKey.objects.valid().filter(predecessor=OuterRef("pk"))
    reached = ~Q(participant__contact_email="") | ~Q(participant__technical_email="")
    rows: Any = (
        ApiKey.objects.valid()
        .filter(reached, expires_at__lte=now + timedelta(days=max(DAYS)), participant__deleted_at=None)
        .exclude(participant__status__in=statuses.VOID)
        .annotate(is_replaced=Exists(successors))
        .select_related("participant__institution")
        .order_by("expires_at")
    )
    count = 0
    for row in rows.exclude(noticed_days=min(DAYS)):
        if count >= MOST:
            break
        assert row.expires_at is not None
        if row.is_replaced and (row.last_used_at is None or row.last_used_at < now - IN_USE):
            continue  # it is meant to end, and nobody misses it
        days = (min(DAYS),) if row.is_replaced else DAYS
        found = due(row.expires_at - row.created_at, row.expires_at - now, row.noticed_days, days)
        count += found is not None and _tell(row, found, is_replaced=row.is_replaced)
    return count


def _tell(row: ApiKey, days: int, *, is_replaced: bool) -> bool:
    """False where another run was first, or the key has been revoked."""
    with history.atomic():
        still = ApiKey.objects.filter(pk=row.pk, revoked_at=None, noticed_days=row.noticed_days)
        if not still.update(noticed_days=days):
            return False
        for address in addresses(row):
            key_letters.expires(row, address, is_replaced=is_replaced)
    metrics.KEY_NOTICES.labels(days=str(days)).inc()
    return True


def addresses(row: ApiKey) -> list[str]:
    """Of the contacts, each once."""
    participant = row.participant
    found = dict.fromkeys((participant.contact_email, participant.technical_email))
    return [each for each in found if each]

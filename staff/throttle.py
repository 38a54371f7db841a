"""How soon somebody who failed to log in may try again. Counted in the database: all web processes know it at once.

Who tries is told apart by *guessers*, each with a count of its own:

- a browser that this account has logged in with before (staff.known_browsers) is counted by itself alone;
- all others are counted by the account they try, whether there is one of that name or not, and by their address.

So strangers who guess at an account slow down each other, and keep nobody out of it who comes with the browser they
always come with. Some tries are free, then each doubles the pause, up to a quarter of an hour: nobody is locked out.

An attempt is counted before the password is looked at, and taken back when it was right: of a thousand at once each
finds the others counted. See docs/staff.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.crypto import salted_hmac

from participants.guesses import network_of
from staff import metrics
from staff.models import Guesser

LONGEST_PAUSE = 15 * 60  # seconds


@dataclass(frozen=True)
class Patience:
    """So many failures are free; with a pause since the last one they are forgotten."""

    free: int
    forgotten_after: timedelta


# Behind one address may sit a whole office.
PATIENCE = {
    "account": Patience(5, timedelta(days=1)),
    "browser": Patience(5, timedelta(days=1)),
    "address": Patience(20, timedelta(hours=1)),
}


@dataclass(frozen=True)
class Key:
    """Whom a guesser stands for. Its text tells neither names nor addresses, which somebody may have mistyped."""

    kind: str
    text: str

    @classmethod
    def of(cls, kind: str, what: str) -> Key:
        return cls(kind, f"{kind}:{salted_hmac('staff.throttle', what, algorithm='sha256').hexdigest()}")


def of_account(name: str) -> Key:
    return Key.of("account", name)


def of_address(address: str) -> Key:
    return Key.of("address", network_of(address))


def of_browser(name: str, mark: str) -> Key:
    return Key.of("browser", f"{mark}:{name}")


def pause_after(failures: int, free: int) -> int:
    """In seconds: none, then 2, 4, 8 …"""
    beyond = failures - free
    return 0 if beyond <= 0 else min(2 ** min(beyond, 20), LONGEST_PAUSE)


def standing(key: Key, failures: int, last_at: datetime, now: datetime) -> tuple[int, float]:
    """How many failures still count, and for how many seconds there is no next try."""
    patience = PATIENCE[key.kind]
    passed = max(0.0, (now - last_at).total_seconds())  # a clock may be set back
    if passed >= patience.forgotten_after.total_seconds():
        return 0, 0.0
    return failures, max(0.0, pause_after(failures, patience.free) - passed)


def take(keys: Sequence[Key]) -> int:
    """Counts an attempt as failed, until forgive() says otherwise. Returns 0.

    Or the seconds to wait: then it must not be made, and was not counted.
    """
    while (wait := _take(keys)) is None:
        pass
    return wait


def _take(keys: Sequence[Key]) -> int | None:
    """None where somebody was forgiven between the statements, and their row is gone."""
    now = timezone.now()
    with transaction.atomic():
        Guesser.objects.bulk_create(
            [Guesser(key=key.text, failures=0, last_at=now) for key in keys], ignore_conflicts=True
        )
        # Locked in the order of their keys, as everybody does it.
        rows = {
            row.key: row
            for row in Guesser.objects.select_for_update().filter(key__in=[key.text for key in keys]).order_by("key")
        }
        if len(rows) < len({key.text for key in keys}):
            return None
        found = {key: standing(key, rows[key.text].failures, rows[key.text].last_at, now) for key in keys}
        wait, by = max((wait, key.kind) for key, (_failures, wait) in found.items())
        if wait:
            metrics.LOG_INS_THROTTLED.labels(by=by).inc()
            return math.ceil(wait)
        for key, (failures, _wait) in found.items():
            Guesser.objects.filter(key=key.text).update(failures=failures + 1, last_at=now)
    return 0


def forgive(keys: Sequence[Key], attempts: int = 1) -> None:
    """They were right. Of an address only these are taken back: who has an account could else guess at others'."""
    for key in keys:
        row = Guesser.objects.filter(key=key.text)
        if key.kind == "address":
            row.filter(failures__gte=attempts).update(failures=F("failures") - attempts)
        else:
            row.delete()


def held_for(name: str) -> int:
    """Seconds for which browsers that the account does not know get no try."""
    key = of_account(name)
    row = Guesser.objects.filter(key=key.text).first()
    return math.ceil(standing(key, row.failures, row.last_at, timezone.now())[1]) if row else 0


def forget() -> int:
    """Deletes what counts no more. Returns how many guessers."""
    count, now = 0, timezone.now()
    for kind, patience in PATIENCE.items():
        rows = Guesser.objects.filter(key__startswith=f"{kind}:", last_at__lte=now - patience.forgotten_after)
        count += rows.delete()[0]
    return count

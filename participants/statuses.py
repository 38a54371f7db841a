"""What each status of a participant means, and which may follow which. Pure; docs/life.md has the same for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from participants.models import Participant

Status = Participant.Status


class Fate(Enum):
    """What becomes of a message to a participant."""

    DELIVERED = "delivered"
    HELD = "held until its time to live ends, then returned"
    RETURNED = "returned at once: a dead letter, its sender told 404"


class Keys(Enum):
    """What a participant may do with its keys."""

    WORK = "work"
    READ = "read the registry and check in"
    VOID = "void (401)"


@dataclass(frozen=True)
class Meaning:
    """Of one status."""

    sends: int  # the answer to its POST /messages
    receives: Fate  # of a message sent to it now
    waiting: Fate  # of one that was accepted before it came into this status
    keys: Keys
    is_listed: bool  # to the other participants, and addressed when a room or the classifiers are
    shown_as: str  # in the network's contract, which has Active, Disabled and Deleted


MEANINGS: Mapping[str, Meaning] = {
    Status.PENDING.value: Meaning(403, Fate.RETURNED, Fate.HELD, Keys.READ, False, "Disabled"),
    Status.ACTIVE.value: Meaning(202, Fate.DELIVERED, Fate.DELIVERED, Keys.WORK, True, "Active"),
    Status.SUSPENDED.value: Meaning(403, Fate.HELD, Fate.HELD, Keys.READ, False, "Disabled"),
    Status.DISABLED.value: Meaning(403, Fate.HELD, Fate.HELD, Keys.READ, False, "Disabled"),
    Status.REVOKED.value: Meaning(401, Fate.RETURNED, Fate.RETURNED, Keys.VOID, False, "Deleted"),
    Status.DELETED.value: Meaning(401, Fate.RETURNED, Fate.RETURNED, Keys.VOID, False, "Deleted"),
}

# What may follow what. A way back from Revoked is only by life.reinstate, with a new key, and into Deleted only by
# registry.remove_participant, from everywhere.
FOLLOWS: Mapping[str, tuple[str, ...]] = {
    Status.PENDING.value: (Status.ACTIVE.value, Status.REVOKED.value),
    Status.ACTIVE.value: (Status.SUSPENDED.value, Status.DISABLED.value, Status.REVOKED.value),
    # With another end than before.
    Status.SUSPENDED.value: (
        Status.SUSPENDED.value,
        Status.ACTIVE.value,
        Status.DISABLED.value,
        Status.REVOKED.value,
    ),
    Status.DISABLED.value: (Status.ACTIVE.value, Status.SUSPENDED.value, Status.REVOKED.value),
    Status.REVOKED.value: (),
    Status.DELETED.value: (),
}

# Steps of its life change these, perhaps while somebody changes what else there is of a participant.
LIFE = ("status", "suspended_until")

SENDING = tuple(status for status, meaning in MEANINGS.items() if meaning.sends == 202)
HELD = tuple(status for status, meaning in MEANINGS.items() if meaning.waiting is Fate.HELD)
GONE = tuple(status for status, meaning in MEANINGS.items() if meaning.waiting is Fate.RETURNED)
UNKNOWN = tuple(status for status, meaning in MEANINGS.items() if meaning.receives is Fate.RETURNED)
VOID = tuple(status for status, meaning in MEANINGS.items() if meaning.keys is Keys.VOID)


def may_follow(before: str, after: str) -> bool:
    return after in FOLLOWS[before]


def columns(row: Participant, status: str, reason: str, until: datetime | None) -> dict[str, Any]:
    """What the row's columns hold once it is in that status. `until`: of a suspension that ends by itself."""
    is_suspended = status == Status.SUSPENDED
    resumes_as = row.resumes_as if row.status == Status.SUSPENDED else row.status
    return {
        "status": status,
        "status_reason": reason,
        "suspended_until": until if is_suspended else None,
        "resumes_as": resumes_as if is_suspended else Status.ACTIVE.value,
    }


def in_sql(statuses: tuple[str, ...]) -> str:
    """As a list in a statement that is written once, such as `'Suspended', 'Disabled'`."""
    return ", ".join(f"'{each}'" for each in statuses)

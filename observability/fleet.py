"""The fleet as a whole: how many Instances are how, and which run less than the newest release."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count

from observability.models import Instance
from observability.states import State
from updates.models import Release


@dataclass(frozen=True)
class Standard:
    """What everybody should run: the newest published release, and what is not behind it."""

    version: str
    current: frozenset[str]  # it, and any release above it (withdrawn since, say)

    def is_behind(self, version: str) -> bool:
        """A version that we never released counts as behind: it is not what should run."""
        return bool(self.version) and bool(version) and version not in self.current


@dataclass(frozen=True)
class Summary:
    """How the fleet is."""

    standard: Standard
    states: dict[State, int]
    behind: int

    @property
    def total(self) -> int:
        return sum(self.states.values())


def standard() -> Standard:
    newest = Release.objects.newest()
    if newest is None:
        return Standard("", frozenset())
    current = Release.objects.filter(sequence__gte=newest.sequence).values_list("version", flat=True)
    return Standard(newest.version, frozenset(current))


def summary(standard: Standard, now: datetime) -> Summary:
    """Of every chatbot that is present, in two queries."""
    rows = Instance.objects.fleet(now).order_by()
    counts = dict(rows.values_list("state").annotate(Count("pk")))
    return Summary(
        standard=standard,
        states={state: counts.get(state.value, 0) for state in State},
        behind=rows.behind(standard.current).count() if standard.version else 0,
    )

"""How a rollout stands, for people: counts per wave and state."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from django.db.models import Count
from django.utils import timezone

from updates.models import Rollout, TargetState, Wave
from updates.models.rollouts import FAILURES, UNDER_WAY


@dataclass(frozen=True)
class WaveProgress:
    """A wave, and how many of its targets are in which state."""

    wave: Wave
    counts: dict[str, int] = field(default_factory=dict)

    def of(self, *states: str) -> int:
        return sum(self.counts.get(state, 0) for state in states)

    @property
    def succeeded(self) -> int:
        return self.of(TargetState.SUCCEEDED)

    @property
    def failed(self) -> int:
        return self.of(*FAILURES)

    @property
    def under_way(self) -> int:
        return self.of(TargetState.OFFERED, *UNDER_WAY)

    @property
    def waiting(self) -> int:
        return self.of(TargetState.WAITING)

    @property
    def left_out(self) -> int:
        return self.of(TargetState.SKIPPED, TargetState.UNREACHABLE)


def of_waves(rollout: Rollout) -> list[WaveProgress]:
    """Two queries, whatever the number of targets."""
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    rows = rollout.targets.order_by().values_list("wave_id", "state").annotate(count=Count("pk"))
    for wave_id, state, count in rows:
        counts[wave_id][state] = count
    return [WaveProgress(wave, counts[wave.pk]) for wave in rollout.waves.order_by("number")]


def held(rollout: Rollout) -> int:
    """How many of those that wait are in an outage."""
    return rollout.targets.spared(timezone.now()).filter(state=TargetState.WAITING).count()


def per_state(waves: list[WaveProgress]) -> list[tuple[str, int]]:
    """The states that occur, in the order of a target's life."""
    totals = [(state.value, sum(each.of(state) for each in waves)) for state in TargetState]
    return [(state, count) for state, count in totals if count]

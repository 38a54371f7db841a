"""Which wave an Instance is in, and what a rollout does next. Pure: facts in, one decision out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from uuid import UUID

from django.utils.translation import gettext

from dmr_project.lib.errors import InvalidInput
from dmr_project.lib.sentences import Sentence

_TOO_MANY = Sentence("%(failed)s failed, %(most)s may")
_BELOW_GATE = Sentence(
    "wave %(number)s has ended with %(succeeded)s of %(counted)s succeeded, the gate asks for %(percent)s%%"
)
_NOBODY_LEFT = Sentence("nobody is left in wave %(number)s to judge the release by")


@dataclass(frozen=True)
class Rules:
    """A rollout's gate: the share of a wave that must have succeeded, and what else holds it back."""

    gate: float
    soak: timedelta
    max_failures: int


@dataclass(frozen=True)
class WaveFacts:
    """How a wave stands. Targets that staff excused or that left the network count in none of these."""

    number: int
    opened_at: datetime | None
    gate_met_at: datetime | None
    succeeded: int
    failed: int  # failed, rolled back, or timed out
    unreachable: int
    open: int  # not ended: waiting, offered or under way
    held: int = 0  # waiting, and in an outage: they hold no gate back, but the rollout ends with them

    @property
    def counted(self) -> int:
        return self.succeeded + self.failed + self.unreachable + self.open


@dataclass(frozen=True)
class Wait:
    """Nothing to do until something is reported or the soak time is over."""


@dataclass(frozen=True)
class Open:
    """The wave may be offered the release."""

    number: int


@dataclass(frozen=True)
class MeetGate:
    """Enough of the wave has succeeded; its soak time begins."""

    number: int


@dataclass(frozen=True)
class Pause:
    """Until staff have looked."""

    reason: str


@dataclass(frozen=True)
class Finish:
    """Every target has ended."""


Decision = Wait | Open | MeetGate | Pause | Finish


def check_shares(shares: Sequence[int]) -> None:
    """Growing percentages, the last 100. Raises InvalidInput."""
    if not shares or shares[-1] != 100 or shares[0] < 1 or list(shares) != sorted(set(shares)):
        raise InvalidInput(
            gettext("The waves must be growing percentages that end with 100, such as 10,50,100."),
            errors=[{"field": "waves", "detail": gettext("must grow and end with 100")}],
        )


def split(members: Iterable[UUID], shares: Sequence[int], salt: str) -> list[tuple[int, list[UUID]]]:
    """The waves as (share, members), none of them empty: cumulative shares in percent, rounded to the nearest.

    Members are ordered by a hash with `salt` (the release's digest): the same every time for one release, and
    not the same Instances first for every release.
    """

    def rank(member: UUID) -> bytes:
        return hashlib.sha256(f"{salt}:{member}".encode()).digest()

    ordered = sorted(members, key=rank)
    waves: list[tuple[int, list[UUID]]] = []
    taken = 0
    for share in shares:
        until = max(1, (len(ordered) * share + 50) // 100)
        if until > taken and taken < len(ordered):
            waves.append((share, ordered[taken:until]))
            taken = until
    return waves


def is_gate_met(wave: WaveFacts, gate: float) -> bool:
    """Has the share of the wave succeeded? A wave of which nobody counts any more never meets it by itself."""
    # The gate was written in decimals: 0.7 of 10 is 7, whatever binary fractions make of it.
    return wave.counted > 0 and wave.succeeded >= Fraction(str(gate)) * wave.counted


def decide(waves: Sequence[WaveFacts], rules: Rules, now: datetime) -> Decision:
    """What a running rollout does next; `waves` in order, those that are open first."""
    failed = sum(wave.failed for wave in waves)
    if failed > rules.max_failures:
        return Pause(_TOO_MANY(failed=failed, most=rules.max_failures))
    opened = [wave for wave in waves if wave.opened_at is not None]
    current = opened[-1] if opened else None
    if current is not None and current.gate_met_at is None and is_gate_met(current, rules.gate):
        return MeetGate(current.number)
    if not any(wave.open or wave.held for wave in waves):
        return Finish()
    if current is None:
        return Open(waves[0].number)
    if len(opened) == len(waves):
        return Wait()
    if current.gate_met_at is None:
        return _at_gate(waves, current, rules)
    if now - current.gate_met_at < rules.soak:
        return Wait()
    return Open(waves[len(opened)].number)


def _at_gate(waves: Sequence[WaveFacts], current: WaveFacts, rules: Rules) -> Decision:
    """Its gate is not met, and others come after it."""
    if current.open or (current.held and not current.counted):
        return Wait()
    if current.counted:
        return Pause(
            _BELOW_GATE(
                number=current.number,
                succeeded=current.succeeded,
                counted=current.counted,
                percent=f"{100 * rules.gate:.0f}",
            )
        )
    if any(wave.succeeded for wave in waves):
        return MeetGate(current.number)  # nobody is left in it, and others have shown that the release works
    return Pause(_NOBODY_LEFT(number=current.number))

"""Which wave an Instance is in, and what a rollout does next. Pure."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmr_project.lib.errors import InvalidInput
from updates.waves import (
    Decision,
    Finish,
    MeetGate,
    Open,
    Pause,
    Rules,
    Wait,
    WaveFacts,
    check_shares,
    decide,
    is_gate_met,
    split,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
RULES = Rules(gate=1.0, soak=timedelta(seconds=60), max_failures=0)
RECENT, LONG_AGO = NOW - timedelta(seconds=59), NOW - timedelta(seconds=60)


def wave(
    number: int = 1,
    *,
    is_open: bool = True,
    met: datetime | None = None,
    ok: int = 0,
    bad: int = 0,
    away: int = 0,
    left: int = 0,
    held: int = 0,
) -> WaveFacts:
    return WaveFacts(number, LONG_AGO if is_open else None, met, ok, bad, away, left, held)


CLOSED = wave(2, is_open=False, left=2)


@pytest.mark.parametrize(
    ("waves", "rules", "decision"),
    [
        ([wave(is_open=False, left=1), CLOSED], RULES, Open(1)),
        ([wave(left=1), CLOSED], RULES, Wait()),
        ([wave(ok=1, left=1), CLOSED], RULES, Wait()),  # half is not all
        ([wave(ok=2), CLOSED], RULES, MeetGate(1)),
        ([wave(ok=1, held=1), CLOSED], RULES, MeetGate(1)),  # who is in an outage holds no gate back
        ([wave(held=2), CLOSED], RULES, Wait()),  # nobody to judge by yet
        ([wave(ok=2, met=LONG_AGO), wave(2, ok=1, met=LONG_AGO, held=1)], RULES, Wait()),  # but the end
        ([wave(ok=2, met=RECENT), CLOSED], RULES, Wait()),  # soaking
        ([wave(ok=2, met=LONG_AGO), CLOSED], RULES, Open(2)),
        ([wave(ok=2, met=NOW), CLOSED], Rules(1.0, timedelta(0), 0), Open(2)),
        ([wave(ok=2, met=LONG_AGO), wave(2, left=2)], RULES, Wait()),
        ([wave(ok=2, met=LONG_AGO), wave(2, ok=2)], RULES, MeetGate(2)),  # the last one's too, for the record
        ([wave(ok=2, met=LONG_AGO), wave(2, ok=2, met=NOW)], RULES, Finish()),  # with nothing to soak for
        # failures
        ([wave(bad=1, left=1), CLOSED], RULES, Pause("1 failed, 0 may")),
        ([wave(ok=2, bad=1, met=LONG_AGO), CLOSED], RULES, Pause("1 failed, 0 may")),  # while it soaks
        ([wave(ok=5, met=LONG_AGO), wave(2, bad=1)], RULES, Pause("1 failed, 0 may")),  # even by the last
        ([wave(bad=1, left=1), CLOSED], Rules(0.5, RULES.soak, 1), Wait()),
        ([wave(ok=1, bad=1), CLOSED], Rules(0.5, RULES.soak, 1), MeetGate(1)),
        ([wave(ok=1, bad=1, met=LONG_AGO), wave(2, bad=1)], Rules(0.5, RULES.soak, 1), Pause("2 failed, 1 may")),
        # a wave that has ended below its gate: nothing more can happen by itself
        (
            [wave(ok=1, bad=1), CLOSED],
            Rules(0.6, RULES.soak, 1),
            Pause("wave 1 has ended with 1 of 2 succeeded, the gate asks for 60%"),
        ),
        (
            [wave(ok=1, away=1), CLOSED],
            RULES,
            Pause("wave 1 has ended with 1 of 2 succeeded, the gate asks for 100%"),
        ),
        ([wave(ok=2, away=1, met=LONG_AGO), CLOSED], Rules(0.6, RULES.soak, 0), Open(2)),
        ([wave(ok=2, met=LONG_AGO), wave(2, ok=1, away=1, met=None)], RULES, Finish()),  # the last holds nobody back
        # nobody left in a wave: revoked, or already excused
        ([wave(), CLOSED], RULES, Pause("nobody is left in wave 1 to judge the release by")),
        ([wave(met=LONG_AGO), CLOSED], RULES, Open(2)),  # staff resumed in spite of that
        (
            [wave(ok=1, met=LONG_AGO), wave(2), wave(3, is_open=False, left=1)],
            RULES,
            MeetGate(2),
        ),
        ([wave(), wave(2, is_open=False)], RULES, Finish()),  # everybody has left
    ],
)
def test_decides(waves: list[WaveFacts], rules: Rules, decision: Decision) -> None:
    assert decide(waves, rules, NOW) == decision


@pytest.mark.parametrize(
    ("succeeded", "of", "gate", "is_met"),
    [(7, 10, 0.7, True), (6, 10, 0.7, False), (1, 3, 0.33, True), (1, 3, 0.34, False),
     (9, 10, 0.9, True), (0, 0, 0.1, False)],
)  # fmt: skip
def test_the_gate_counts_in_decimals(succeeded: int, of: int, gate: float, is_met: bool) -> None:
    assert is_gate_met(wave(ok=succeeded, left=of - succeeded), gate) is is_met


@pytest.mark.parametrize(
    ("size", "shares", "sizes"),
    [
        (1, (10, 50, 100), [1]),
        (2, (10, 50, 100), [1, 1]),  # half of two is the one that has it already
        (3, (10, 50, 100), [1, 1, 1]),
        (3, (34, 100), [1, 2]),
        (10, (10, 50, 100), [1, 4, 5]),
        (5000, (1, 10, 50, 100), [50, 450, 2000, 2500]),
        (7, (100,), [7]),
    ],
)
def test_splits_by_share(size: int, shares: tuple[int, ...], sizes: list[int]) -> None:
    members = [uuid.uuid4() for _ in range(size)]
    assert [len(each) for _, each in split(members, shares, "salt")] == sizes


@given(
    st.lists(st.uuids(), min_size=1, max_size=60, unique=True),
    st.sets(st.integers(1, 99), max_size=5),
    st.randoms(),
)
def test_every_member_is_in_one_wave_and_the_same_each_time(
    members: list[uuid.UUID], shares: set[int], chance: object
) -> None:
    growing = [*sorted(shares), 100]
    first = split(members, growing, "salt")
    assert all(each for _, each in first)
    assert sorted(each for _, ids in first for each in ids) == sorted(members)
    assert split(members[::-1], growing, "salt") == first


def test_another_release_begins_with_others() -> None:
    members = [uuid.uuid4() for _ in range(50)]
    canaries = {split(members, (2, 100), f"release {number}")[0][1][0] for number in range(20)}
    assert len(canaries) > 1


@pytest.mark.parametrize(
    "shares", [(), (10,), (50, 10, 100), (10, 10, 100), (0, 100), (-1, 100), (10, 101), (100, 100)]
)
def test_refuses_shares_that_do_not_grow_to_all(shares: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="growing percentages"):
        check_shares(shares)

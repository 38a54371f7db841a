"""An Instance in an outage is offered nothing and not judged by its silence, unless staff said so at the start."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from io import StringIO

import pytest
import time_machine
from django.core.management import call_command
from django.urls import reverse

from participants import outages
from participants.models import Outage
from tests import factories
from tests.factories import Registered
from tests.staff.people import browser
from tests.updates.staff import Staff, check_in, in_wave, report, states
from updates import reports, rollouts, sparing, targets
from updates.models import Rollout, Target, TargetState
from updates.scheduler import tick

HOUR = 3600
START = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


def away(target: Target, *, seconds: float | None = HOUR, begins_in: float = 0, of_all: bool = False) -> Outage:
    bot = Registered(target.participant, "")
    if of_all:
        return factories.outage(begins_in=begins_in, seconds=seconds, institution=target.participant.institution)
    return factories.outage(bot, begins_in=begins_in, seconds=seconds)


def state_of(target: Target) -> tuple[str, str]:
    target.refresh_from_db()
    return target.state, target.reason


@pytest.mark.parametrize("of_all", [False, True], ids=["its own", "its institution's"])
def test_nothing_is_offered_until_it_is_over(staff: Staff, clock: time_machine.Traveller, of_all: bool) -> None:
    rollout = staff.rollout(instances=1)
    (target,) = in_wave(rollout, 1)
    away(target, of_all=of_all)
    assert check_in(target) is None, "before any tick"
    tick()
    assert state_of(target) == (TargetState.WAITING, sparing.HELD)
    clock.shift(HOUR)
    tick()
    assert state_of(target) == (TargetState.WAITING, "")
    assert check_in(target) is not None


def test_its_silence_is_not_held_against_it(staff: Staff, clock: time_machine.Traveller) -> None:
    rollout = staff.rollout(instances=1)
    (target,) = in_wave(rollout, 1)
    outage = away(target, seconds=None)
    for _ in range(3):
        tick()
        clock.shift(targets.REACH)
    assert state_of(target) == (TargetState.WAITING, sparing.HELD)
    assert Rollout.objects.get().state == Rollout.State.RUNNING
    outages.end(outage, actor="tests")
    tick()
    clock.shift(targets.REACH - timedelta(seconds=1))
    tick()
    assert state_of(target)[0] == TargetState.WAITING, "as long as any other"
    clock.shift(1)
    tick()
    assert state_of(target)[0] == TargetState.UNREACHABLE


def test_an_offer_is_taken_back(staff: Staff, clock: time_machine.Traveller) -> None:
    (target,) = in_wave(staff.rollout(instances=1), 1)
    assert check_in(target) is not None
    away(target)
    assert check_in(target) is None
    nonce = Target.objects.get().nonce
    tick()
    assert state_of(target) == (TargetState.WAITING, sparing.HELD)
    with pytest.raises(reports.OfferWithdrawn):
        report(target, "accepted", nonce=nonce)
    clock.shift(HOUR)
    assert check_in(target) is not None


def test_what_is_under_way_has_as_long_again(staff: Staff, clock: time_machine.Traveller) -> None:
    (target,) = in_wave(staff.rollout(instances=1), 1)
    check_in(target)
    report(target, "accepted")
    outage = away(target, seconds=None)
    for _ in range(3):
        clock.shift(targets.UNDER_WAY_LIMIT)
        tick()
    assert state_of(target)[0] == TargetState.ACCEPTED
    outages.end(outage, actor="tests")
    tick()
    clock.shift(targets.UNDER_WAY_LIMIT - timedelta(seconds=1))
    tick()
    assert state_of(target)[0] == TargetState.ACCEPTED
    clock.shift(1)
    tick()
    assert state_of(target)[0] == TargetState.TIMED_OUT


def test_what_it_reports_counts(staff: Staff) -> None:
    (target,) = in_wave(staff.rollout(instances=1), 1)
    check_in(target)
    report(target, "accepted")
    away(target)
    report(target, "succeeded")
    tick()
    assert Rollout.objects.get().state == Rollout.State.FINISHED


def test_the_others_go_on_and_the_rollout_waits_for_it_at_the_end(
    staff: Staff, clock: time_machine.Traveller
) -> None:
    rollout = staff.rollout(instances=4, waves=(50, 100))
    held, other = in_wave(rollout, 1)
    away(held)
    tick()
    for target in (other, *in_wave(rollout, 2)):
        check_in(target)
        report(target, "accepted")
        report(target, "succeeded")
        tick()
    assert states(rollout).count("succeeded") == 3
    assert Rollout.objects.get().state == Rollout.State.RUNNING
    clock.shift(HOUR)
    check_in(held)
    report(held, "accepted")
    report(held, "succeeded")
    tick()
    assert Rollout.objects.get().state == Rollout.State.FINISHED


def test_a_wave_of_which_all_are_held_waits(staff: Staff, clock: time_machine.Traveller) -> None:
    rollout = staff.rollout(instances=2, waves=(50, 100))
    (held,), (other,) = in_wave(rollout, 1), in_wave(rollout, 2)
    away(held)
    tick()
    assert check_in(other) is None
    assert Rollout.objects.get().state == Rollout.State.RUNNING


def test_pausing_and_resuming_leaves_it_held(staff: Staff, clock: time_machine.Traveller) -> None:
    rollout = staff.rollout(instances=1)
    (target,) = in_wave(rollout, 1)
    away(target)
    tick()
    rollouts.pause(rollout, actor="tests")
    clock.shift(HOUR)
    tick()
    assert check_in(target) is None
    rollouts.resume(rollout, actor="tests")
    tick()
    assert state_of(target) == (TargetState.WAITING, "")
    assert target.deadline is not None
    assert check_in(target) is not None


def test_unless_staff_say_otherwise(staff: Staff, clock: time_machine.Traveller) -> None:
    rollout = staff.rollout(instances=2, in_outages=True, waves=(100,))
    one, other = in_wave(rollout, 1)
    away(one, seconds=None)
    away(other, seconds=None)
    tick()
    assert check_in(one) is not None
    clock.shift(targets.REACH)
    tick()
    assert {state_of(one)[0], state_of(other)[0]} == {TargetState.TIMED_OUT, TargetState.UNREACHABLE}


def test_pages_and_command_say_how_many_are_held(staff: Staff) -> None:
    rollout = staff.rollout(instances=2, waves=(100,))
    (target, _other) = in_wave(rollout, 1)
    away(target)
    tick()
    staff.anna.is_superuser = True
    staff.anna.save()
    client = browser(staff.anna)
    page = client.get(reverse("admin:updates_rollout_change", args=[rollout.pk])).content.decode()
    assert "1 held by an outage" in page
    assert sparing.HELD in page
    assert sparing.HELD in client.get(reverse("admin:updates_target_change", args=[target.pk])).content.decode()
    said = StringIO()
    call_command("rollout", "status", rollout.release.version, stdout=said)
    assert "1 held by an outage" in said.getvalue()
    assert sparing.HELD in said.getvalue()

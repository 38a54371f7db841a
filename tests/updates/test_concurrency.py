"""Two ticks, check-ins, pauses and reports at once, on real threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from participants import registry
from participants.models import Change
from tests.updates.staff import Staff, bring_to, check_in, in_wave, report
from updates import reports, rollouts
from updates.models import TargetEvent
from updates.scheduler import tick

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def staff(transactional_db: None) -> Staff:
    return Staff()


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Runs each in a thread of its own, all let go together; what each returned or raised."""
    barrier = threading.Barrier(len(calls))
    outcomes: list[Any] = [None] * len(calls)

    def run(index: int, call: Callable[[], Any]) -> None:
        try:
            barrier.wait(10)
            outcomes[index] = call()
        except Exception as error:
            outcomes[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return outcomes


def test_two_ticks_at_once_open_one_wave_and_pause_once(staff: Staff) -> None:
    rollout = staff.rollout(4, waves=(25, 50, 100), soak_seconds=0)
    bring_to(in_wave(rollout, 1)[0], "succeeded")
    assert at_once(*[tick] * 4) == [None] * 4
    assert [wave.opened_at is not None for wave in rollout.waves.all()] == [True, True, False]
    bring_to(in_wave(rollout, 2)[0], "rolled_back")
    assert at_once(*[tick] * 4) == [None] * 4
    rollout.refresh_from_db()
    assert rollout.state == "paused"
    assert Change.objects.filter(kind="rollout", action="pause").count() == 1


def test_check_ins_at_once_get_one_offer(staff: Staff) -> None:
    rollout = staff.rollout(1)
    (target,) = in_wave(rollout, 1)
    offers = at_once(*[lambda: check_in(target)] * 4)
    assert {offer.nonce for offer in offers} == {offers[0].nonce}
    assert TargetEvent.objects.filter(target=target, to_state="offered").count() == 1


def test_a_pause_leaks_no_offer(staff: Staff) -> None:
    rollout = staff.rollout(8, waves=(100,))
    members = list(rollout.targets.all())
    at_once(
        *[lambda target=target: check_in(target) for target in members],  # type: ignore[misc]
        lambda: rollouts.pause(rollout, actor="anna"),
        tick,
    )
    assert set(rollout.targets.values_list("state", flat=True)) == {"waiting"}


def test_acceptance_and_pause_at_once_agree(staff: Staff) -> None:
    for version in ("1.1.0", "1.2.0", "1.3.0"):
        rollout = staff.rollout(1, version)
        (target,) = in_wave(rollout, 1)[:1]
        bring_to(target, "offered")
        nonce = target.nonce
        answer, _ = at_once(
            lambda nonce=nonce, target=target: report(target, "accepted", nonce=nonce),  # type: ignore[misc]
            lambda rollout=rollout: rollouts.pause(rollout, actor="anna"),  # type: ignore[misc]
        )
        target.refresh_from_db()
        if answer == "accepted":
            assert target.state == "accepted"
        else:
            assert isinstance(answer, reports.OfferWithdrawn)
            assert target.state == "waiting"
        registry.remove_participant(target.participant, actor="anna")


def test_the_same_report_at_once_is_taken_once(staff: Staff) -> None:
    rollout = staff.rollout(1)
    (target,) = in_wave(rollout, 1)
    bring_to(target, "offered")
    answers = at_once(*[lambda: report(target, "accepted", sequence=900_005)] * 4)
    assert answers == ["accepted"] * 4
    assert target.reports.count() == 1

"""A rollout from its start to its end: gates, pauses, deadlines, those who leave."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest
import time_machine
from django.db import IntegrityError, transaction

from dmr_project.lib.errors import InvalidInput
from participants import registry
from participants.models import Change
from tests import factories
from tests.updates.staff import Staff, bring_to, check_in, in_wave, report, states
from updates import agent_protocol, reports, rollouts, targets
from updates.models import Rollout, Target, TargetEvent, TargetState
from updates.scheduler import tick

START = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


def state_of(rollout: Rollout) -> str:
    rollout.refresh_from_db()
    return rollout.state


def test_goes_wave_by_wave_and_finishes(staff: Staff, clock: time_machine.Traveller) -> None:
    rollout = staff.rollout(soak_seconds=5)
    (first,), (second,), (third,) = (in_wave(rollout, number) for number in (1, 2, 3))
    tick()
    assert check_in(second) is None
    assert check_in(third) is None
    bring_to(first, "succeeded")
    tick()
    assert check_in(second) is None, "it soaks"
    clock.shift(4)
    tick()
    assert check_in(second) is None
    clock.shift(1)
    tick()
    bring_to(second, "succeeded")
    tick()
    clock.shift(5)
    tick()
    bring_to(third, "succeeded")
    assert state_of(rollout) == "running"
    tick()
    assert state_of(rollout) == "finished"
    assert rollout.ended_at is not None
    assert states(rollout) == ["succeeded"] * 3
    actions = Change.objects.filter(kind="rollout").order_by("id").values_list("action", "actor")
    assert list(actions) == [("start", "anna"), ("finish", "system")]
    told = first.events.values_list("from_state", "to_state")
    assert list(told) == [
        ("waiting", "offered"), ("offered", "accepted"), ("accepted", "installing"),
        ("installing", "verifying"), ("verifying", "succeeded"),
    ]  # fmt: skip


def test_a_failure_pauses_and_the_others_never_see_it(staff: Staff) -> None:
    rollout = staff.rollout()
    bring_to(in_wave(rollout, 1)[0], "rolled_back", "not healthy within 5 s")
    tick()
    assert state_of(rollout) == "paused"
    name = in_wave(rollout, 1)[0].participant.name
    assert rollout.reason == f"1 failed, 0 may; {name} rolled back: not healthy within 5 s"
    for other in (*in_wave(rollout, 2), *in_wave(rollout, 3)):
        assert check_in(other) is None
    assert states(rollout) == ["rolled_back", "waiting", "waiting"]


def test_resuming_excuses_what_failed(staff: Staff) -> None:
    rollout = staff.rollout()
    bring_to(in_wave(rollout, 1)[0], "failed", "refused")
    tick()
    assert rollouts.resume(rollout, actor="anna") == 1
    tick()
    assert state_of(rollout) == "running"
    bring_to(in_wave(rollout, 2)[0], "failed", "refused too")
    tick()
    assert state_of(rollout) == "paused", "only what was known then is excused"
    rollouts.resume(rollout, actor="anna")
    tick()
    bring_to(in_wave(rollout, 3)[0], "succeeded")
    tick()
    assert state_of(rollout) == "finished"


def test_pausing_withdraws_what_is_not_accepted(staff: Staff) -> None:
    rollout = staff.rollout(waves=(100,))
    offered, accepted, _ = rollout.targets.all()
    bring_to(offered, "offered")
    bring_to(accepted, "accepted")
    nonce = offered.nonce
    assert rollouts.pause(rollout, actor="bert", reason="lunch") == 1
    assert check_in(offered) is None
    assert sorted(states(rollout)) == ["accepted", "waiting", "waiting"]
    with pytest.raises(reports.OfferWithdrawn):
        report(offered, "accepted", nonce=nonce)
    offered.refresh_from_db()
    assert (offered.state, offered.contradicted_at) == ("waiting", None)
    assert report(accepted, "installing") == "installing"  # what has begun goes on
    tick()
    assert state_of(rollout) == "paused"
    rollouts.resume(rollout, actor="bert")
    again = check_in(offered)
    assert again is not None
    assert again.nonce != nonce


def test_a_pause_stops_the_clock_of_who_waits(staff: Staff, clock: time_machine.Traveller) -> None:
    rollout = staff.rollout()
    rollouts.pause(rollout, actor="bert")
    clock.shift(timedelta(days=3))
    tick()
    assert states(rollout) == ["waiting"] * 3
    rollouts.resume(rollout, actor="bert")
    clock.shift(targets.REACH - timedelta(seconds=1))
    tick()
    assert states(rollout) == ["waiting"] * 3


def test_aborting_leaves_what_is_under_way(staff: Staff, clock: time_machine.Traveller) -> None:
    rollout = staff.rollout(waves=(100,))
    offered, installing, waiting = rollout.targets.all()
    bring_to(offered, "offered")
    bring_to(installing, "installing")
    assert rollouts.abort(rollout, actor="bert", reason="wrong one") == 2
    assert check_in(waiting) is None
    with pytest.raises(reports.OfferWithdrawn):
        report(offered, "accepted")
    assert report(installing, "verifying") == "verifying"
    clock.shift(targets.UNDER_WAY_LIMIT)
    tick()  # nothing stays under way for ever, whatever became of the rollout
    installing.refresh_from_db()
    assert installing.state == "timed_out"
    assert report(installing, "succeeded") == "succeeded"
    assert state_of(rollout) == "aborted"
    for act in (rollouts.pause, rollouts.resume, rollouts.abort):
        with pytest.raises(rollouts.RolloutConflict):
            act(rollout, actor="bert")


def test_times_out_the_silent(staff: Staff, clock: time_machine.Traveller) -> None:
    rollout = staff.rollout(waves=(100,), max_failures=2)
    offered, accepted, waiting = rollout.targets.all()
    bring_to(offered, "offered")
    bring_to(accepted, "accepted")
    clock.shift(targets.OFFER)
    tick()
    assert list(rollout.targets.values_list("state", flat=True)) == ["timed_out", "accepted", "waiting"]
    clock.shift(targets.UNDER_WAY_LIMIT - targets.OFFER)
    tick()
    assert list(rollout.targets.values_list("state", flat=True)) == ["timed_out", "timed_out", "waiting"]
    clock.shift(targets.REACH - targets.UNDER_WAY_LIMIT)
    tick()
    waiting.refresh_from_db()
    assert waiting.state == "unreachable"
    assert waiting.reason == "it did not check in within 4:00:00"
    assert state_of(rollout) == "finished"


def test_the_unreachable_are_offered_the_release_when_they_come(staff: Staff, clock: time_machine.Traveller) -> None:
    rollout = staff.rollout(2, waves=(100,))
    first, second = rollout.targets.all()
    bring_to(first, "installing")
    clock.shift(targets.REACH - timedelta(hours=2))
    report(first, "verifying")
    Target.objects.filter(pk=first.pk).update(deadline=START + timedelta(days=1))
    clock.shift(timedelta(hours=2))
    tick()
    second.refresh_from_db()
    assert second.state == "unreachable"
    bring_to(second, "succeeded")
    report(first, "succeeded")
    tick()
    assert state_of(rollout) == "finished"


def test_the_unreachable_hold_the_gate_but_are_no_failures(staff: Staff, clock: time_machine.Traveller) -> None:
    rollout = staff.rollout()
    clock.shift(targets.REACH)
    tick()
    assert state_of(rollout) == "paused"
    assert rollout.reason.startswith("wave 1 has ended with 0 of 1 succeeded")
    rollouts.resume(rollout, actor="anna")
    tick()
    assert check_in(in_wave(rollout, 2)[0]) is not None, "staff took the decision"


def test_a_late_success_is_a_fact(staff: Staff, clock: time_machine.Traveller) -> None:
    rollout = staff.rollout()
    (first,) = in_wave(rollout, 1)
    bring_to(first, "accepted")
    clock.shift(targets.UNDER_WAY_LIMIT)
    tick()
    assert state_of(rollout) == "paused"
    assert report(first, "installing") == "timed_out"
    assert report(first, "verifying") == "timed_out"
    assert report(first, "succeeded") == "succeeded"
    rollouts.resume(rollout, actor="anna")
    tick()
    assert rollout.waves.get(number=2).opened_at is not None


@pytest.mark.parametrize("before", ["offered", "installing", "verifying"])
def test_beat_away_for_five_minutes_in_the_middle(staff: Staff, clock: time_machine.Traveller, before: str) -> None:
    rollout = staff.rollout(soak_seconds=60)
    (first,) = in_wave(rollout, 1)
    bring_to(first, before)
    clock.shift(timedelta(minutes=2))
    for each in ("accepted", "installing", "verifying", "succeeded")[
        {"offered": 0, "installing": 2, "verifying": 3}[before] :
    ]:
        report(first, each)
    clock.shift(timedelta(minutes=3))
    tick()
    assert [wave.opened_at is not None for wave in rollout.waves.all()] == [True, False, False], "it soaks yet"
    clock.shift(60)
    tick()
    assert [wave.opened_at is not None for wave in rollout.waves.all()] == [True, True, False], "one wave, not all"
    assert state_of(rollout) == "running"


@pytest.mark.parametrize("state", ["waiting", "offered", "accepted", "installing", "verifying"])
@pytest.mark.parametrize("how", ["deleted", "suspended", "keys revoked"])
def test_an_instance_revoked_in_the_middle_is_skipped(staff: Staff, state: str, how: str) -> None:
    rollout = staff.rollout()
    first, second = in_wave(rollout, 1)[0], in_wave(rollout, 2)[0]
    bring_to(first, "succeeded")
    tick()
    if state != "waiting":
        bring_to(second, state)
    if how == "deleted":
        registry.remove_participant(second.participant, actor="anna")
    elif how == "suspended":
        registry.set_status([second.participant], "Suspended", actor="anna")
        assert check_in(second) is None or state == "offered"
    else:
        for key in second.participant.keys.all():
            registry.revoke_key(key, actor="anna")
    tick()
    second.refresh_from_db()
    assert (second.state, second.reason) == ("skipped", "it was revoked, suspended or deleted")
    tick()
    assert state_of(rollout) == "running"
    assert check_in(in_wave(rollout, 3)[0]) is not None, "who has left holds nobody back"


def test_a_canary_that_leaves_pauses(staff: Staff) -> None:
    rollout = staff.rollout()
    registry.remove_participant(in_wave(rollout, 1)[0].participant, actor="anna")
    tick()
    assert state_of(rollout) == "paused"
    assert rollout.reason == "nobody is left in wave 1 to judge the release by"
    rollouts.resume(rollout, actor="anna")
    tick()
    assert check_in(in_wave(rollout, 2)[0]) is not None


def test_everybody_leaves(staff: Staff) -> None:
    rollout = staff.rollout()
    for target in rollout.targets.select_related("participant"):
        registry.remove_participant(target.participant, actor="anna")
    tick()
    assert state_of(rollout) == "finished"


def test_refuses_a_rollout_over_nobody(staff: Staff) -> None:
    release = staff.published()
    with pytest.raises(rollouts.NobodyToUpdate, match="nobody to update"):
        rollouts.start(release, rollouts.Plan(), staff.anna)
    factories.participant(type="Classifier")
    factories.participant(status="Disabled")
    with pytest.raises(rollouts.NobodyToUpdate):
        rollouts.start(release, rollouts.Plan(), staff.anna)
    assert not Rollout.objects.exists()


def test_chooses_by_institution_type_and_version(staff: Staff) -> None:
    mine = factories.institution("Ministry of Mine")
    here, there = factories.participant(institution=mine), factories.participant()
    classifier = factories.participant(type="Classifier", institution=mine)
    agent_protocol.check_in(there.row.pk, "1.0.0", "sha256:x")

    def names(plan: rollouts.Plan) -> list[str]:
        return sorted(each.name for each in rollouts.chosen(plan))

    assert names(rollouts.Plan()) == sorted([here.name, there.name])
    assert names(rollouts.Plan(institution=mine)) == [here.name]
    assert names(rollouts.Plan(participant_type="Classifier")) == [classifier.name]
    assert names(rollouts.Plan(from_version="1.0.0")) == [there.name]


def test_one_open_rollout_per_release(staff: Staff) -> None:
    rollout = staff.rollout()
    with pytest.raises(rollouts.RolloutConflict, match="is under way"):
        rollouts.start(rollout.release, rollouts.Plan(), staff.anna)
    rollouts.abort(rollout, actor="anna")
    rollouts.start(rollout.release, rollouts.Plan(), staff.anna)


def test_only_what_is_published_is_rolled_out(staff: Staff) -> None:
    factories.participant()
    with pytest.raises(rollouts.RolloutConflict, match="is approved"):
        rollouts.start(staff.approved(), rollouts.Plan(), staff.anna)


@pytest.mark.parametrize(
    "plan", [{"gate": 0}, {"gate": 1.1}, {"gate": float("nan")}, {"soak_seconds": -1}, {"max_failures": -1},
             {"max_failures": 2**31}, {"waves": (50,)}, {"participant_type": "Bot"}]
)  # fmt: skip
def test_refuses_plans_that_make_no_sense(staff: Staff, plan: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        staff.rollout(**plan)


def test_an_instance_takes_one_offer_at_a_time(staff: Staff) -> None:
    older = staff.rollout(1, "1.1.0")
    newer = staff.rollout(0, "1.2.0")
    (old,), (new,) = older.targets.all(), newer.targets.all()
    offer = check_in(old)
    assert offer is not None
    assert offer.version == "1.2.0", "the newest first"
    bring_to(new, "accepted")
    assert check_in(old) is None
    for each in ("installing", "verifying", "succeeded"):
        report(new, each)
    assert check_in(old, "1.2.0", newer.release.digest) is None
    old.refresh_from_db()
    assert (old.state, old.reason) == ("skipped", "it runs a newer version (1.2.0)")
    with pytest.raises(IntegrityError), transaction.atomic():
        Target.objects.filter(pk__in=(old.pk, new.pk)).update(state=TargetState.OFFERED, nonce="x", deadline=START)


def test_every_transition_is_guarded(staff: Staff) -> None:
    rollout = staff.rollout()
    (first,) = in_wave(rollout, 1)
    stale = Target.objects.get(pk=first.pk)
    bring_to(first, "accepted")
    assert not targets.move(stale, TargetState.SKIPPED, now=START, actor="tests")
    assert TargetEvent.objects.filter(target=first).count() == 2

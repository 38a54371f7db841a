"""A recipient that keeps failing is left alone but for one probe at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone

import pytest

from participants.models import Participant
from relay.delivery import breaker, claim, settle
from relay.delivery.breaker import FAILURES_TO_OPEN, Failures, pause_after
from relay.delivery.claimed import Claimed
from relay.delivery.retry import Outcome
from relay.delivery.settle import Attempted
from relay.models import Breaker, Delivery, State
from tests import factories
from tests.conftest import Wakes
from tests.factories import Registered

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("failures", "seconds"), [(5, 1), (6, 2), (7, 4), (10, 32), (11, 60), (500, 60)])
def test_pauses_double_up_to_a_minute(failures: int, seconds: int) -> None:
    assert pause_after(failures) == timedelta(seconds=seconds)


def messages(recipient: Registered, count: int) -> None:
    sender = factories.participant()
    for _ in range(count):
        factories.message(sender, recipient.name)


def fail(claimed: list[Claimed], status: int | None = 500) -> None:
    now = datetime.now(timezone.utc)
    settle.settle([Attempted(each, Outcome(False, status, "it failed", 0.1), now) for each in claimed])


def succeed(claimed: list[Claimed]) -> None:
    now = datetime.now(timezone.utc)
    settle.settle([Attempted(each, Outcome(True, 202, "", 0.1), now) for each in claimed])


def let_probe() -> None:
    Breaker.objects.update(probe_at=datetime.now(timezone.utc) - timedelta(seconds=1))


def pause(recipient: Registered) -> timedelta:
    row = Breaker.objects.get(recipient=recipient.row)
    assert row.state == "open"
    assert row.probe_at is not None
    return row.probe_at - datetime.now(timezone.utc)


def test_failures_in_a_row_open_it_and_the_rest_waits() -> None:
    recipient = factories.participant()
    messages(recipient, 2 * FAILURES_TO_OPEN)
    fail(claim.claim(FAILURES_TO_OPEN))
    row = Breaker.objects.get(recipient=recipient.row)
    assert (row.state, row.failures, row.last_error) == ("open", FAILURES_TO_OPEN, "it failed")
    assert claim.claim(100) == []
    waiting = Delivery.objects.filter(recipient=recipient.row, attempts=0)
    assert {each.state for each in waiting} == {State.PENDING}
    assert len(waiting) == FAILURES_TO_OPEN


def test_one_probe_at_a_time_and_its_success_closes() -> None:
    recipient = factories.participant()
    messages(recipient, 2 * FAILURES_TO_OPEN)
    fail(claim.claim(FAILURES_TO_OPEN))
    let_probe()
    probe = claim.claim(100)
    assert [each.is_probe for each in probe] == [True]
    assert claim.claim(100) == []
    assert Delivery.objects.filter(attempts=0, state=State.PENDING).count() == FAILURES_TO_OPEN - 1
    succeed(probe)
    row = Breaker.objects.get(recipient=recipient.row)
    assert (row.state, row.failures, row.opened_at) == ("closed", 0, None)
    assert len(claim.claim(100)) == FAILURES_TO_OPEN - 1


def test_a_failed_probe_waits_longer() -> None:
    recipient = factories.participant()
    messages(recipient, 2 * FAILURES_TO_OPEN)
    fail(claim.claim(FAILURES_TO_OPEN))
    let_probe()
    fail(claim.claim(100))
    assert timedelta(seconds=1) < pause(recipient) <= timedelta(seconds=2)


def test_the_first_pause_is_short_however_many_fail_together() -> None:
    recipient = factories.participant()
    messages(recipient, 3 * FAILURES_TO_OPEN)
    fail(claim.claim(8) + claim.claim(8))
    assert timedelta(0) < pause(recipient) <= timedelta(seconds=1)


def test_what_was_under_way_when_it_opened_makes_no_pause_longer() -> None:
    recipient = factories.participant()
    messages(recipient, 3 * FAILURES_TO_OPEN)
    stragglers = claim.claim(3)
    fail(claim.claim(FAILURES_TO_OPEN))
    fail(stragglers)
    assert timedelta(0) < pause(recipient) <= timedelta(seconds=1)
    let_probe()
    fail(claim.claim(100))
    assert timedelta(seconds=1) < pause(recipient) <= timedelta(seconds=2)


def test_a_success_in_between_forgets_failures() -> None:
    recipient = factories.participant()
    messages(recipient, FAILURES_TO_OPEN + 2)
    fail(claim.claim(FAILURES_TO_OPEN - 1))
    succeed(claim.claim(1))
    assert Breaker.objects.get(recipient=recipient.row).failures == 0


def test_final_answers_do_not_count() -> None:
    recipient = factories.participant()
    messages(recipient, FAILURES_TO_OPEN)
    fail(claim.claim(100), status=404)
    assert not Breaker.objects.filter(recipient=recipient.row).exists()


def test_a_final_answer_to_a_probe_lets_the_next_one_go_soon() -> None:
    """The recipient is back, and does not want that one message: it has not failed, nor taken anything yet."""
    recipient = factories.participant()
    messages(recipient, 2 * FAILURES_TO_OPEN)
    fail(claim.claim(FAILURES_TO_OPEN))
    let_probe()
    fail(claim.claim(100))
    let_probe()
    fail(claim.claim(100), status=400)
    assert timedelta(0) < pause(recipient) <= timedelta(seconds=1)
    assert Breaker.objects.get(recipient=recipient.row).failures == FAILURES_TO_OPEN + 1


def test_a_probe_is_not_spent_on_what_has_expired() -> None:
    """What waits longest for a recipient that is away has often expired: it is ended, and another one tells."""
    recipient = factories.participant()
    messages(recipient, FAILURES_TO_OPEN + 4)
    fail(claim.claim(FAILURES_TO_OPEN))
    waiting = list(Delivery.objects.filter(attempts=0).order_by("id").values_list("id", flat=True))
    now = datetime.now(timezone.utc)
    Delivery.objects.filter(id__in=waiting[:2]).update(expires_at=now - timedelta(seconds=1))
    let_probe()
    claimed = claim.claim(100)
    assert [each.id for each in claimed] == waiting[:3]
    assert [settle.ending(each, now) is None for each in claimed] == [False, False, True]
    assert pause(recipient) > timedelta(seconds=20), "the probe is taken"
    assert claim.claim(100) == []


def test_what_has_expired_leaves_the_probe_to_others() -> None:
    recipient = factories.participant()
    messages(recipient, FAILURES_TO_OPEN + 1)
    fail(claim.claim(FAILURES_TO_OPEN))
    now = datetime.now(timezone.utc)
    Delivery.objects.filter(attempts=0).update(expires_at=now - timedelta(seconds=1))
    let_probe()
    assert len(claim.claim(100)) == 1
    assert pause(recipient) < timedelta(0), "it is still due"


def test_gone_parks_whatever_else_it_said() -> None:
    """Of a recipient that has failed before, one succeeds and one meets 410, and both are written down together."""
    recipient = factories.participant()
    messages(recipient, 3)
    fail(claim.claim(1))
    taken, gone = claim.claim(2)
    now = datetime.now(timezone.utc)
    settle.settle(
        [
            Attempted(taken, Outcome(True, 202, "", 0.1), now),
            Attempted(gone, Outcome(False, 410, "it is gone", 0.1), now),
        ]
    )
    assert Breaker.objects.get(recipient=recipient.row).state == "parked"


def test_gone_parks_until_staff_close() -> None:
    recipient = factories.participant()
    messages(recipient, 3)
    fail(claim.claim(1), status=410)
    assert Breaker.objects.get(recipient=recipient.row).state == "parked"
    let_probe()
    assert [each for each in claim.claim(100) if each.recipient_id == recipient.row.pk] == []
    assert breaker.close(Breaker.objects.filter(recipient=recipient.row), actor="anna") == 1
    assert len([each for each in claim.claim(100) if each.recipient_id == recipient.row.pk]) == 2


def test_closing_wakes_a_pump(wakes: Wakes, committed: Callable[[], AbstractContextManager[object]]) -> None:
    recipient = factories.participant()
    breaker.note(set(), {recipient.row.pk: Failures(1, "gone", is_gone=True)}, datetime.now(timezone.utc))
    with committed():
        breaker.close(Breaker.objects.filter(recipient=recipient.row), actor="anna")
        assert wakes.count == 0
    assert wakes.count == 1


def test_gone_from_where_it_has_moved_away_does_not_park() -> None:
    """Its endpoint was changed while the old one was being tried."""
    recipient = factories.participant()
    messages(recipient, 2)
    claimed = claim.claim(1)
    Participant.objects.filter(pk=recipient.row.pk).update(host="http://moved.invalid/messages")
    fail(claimed, status=410)
    assert not Breaker.objects.filter(recipient=recipient.row, state="parked").exists()
    fail([each for each in claim.claim(100) if each.recipient_id == recipient.row.pk], status=410)
    assert Breaker.objects.get(recipient=recipient.row).state == "parked"


def test_a_late_success_does_not_unpark() -> None:
    recipient = factories.participant()
    breaker.note(set(), {recipient.row.pk: Failures(1, "gone", is_gone=True)}, datetime.now(timezone.utc))
    breaker.note({recipient.row.pk}, {}, datetime.now(timezone.utc))
    assert Breaker.objects.get(recipient=recipient.row).state == "parked"


def test_probes_take_no_place_from_those_who_are_well() -> None:
    """Of each that fails a claim takes a few rows and keeps one."""
    for _ in range(6):
        recipient = factories.participant()
        messages(recipient, claim.ROWS_OF_EACH)
        fail(claim.claim(claim.ROWS_OF_EACH))
    Delivery.objects.update(due_at=datetime.now(timezone.utc) - timedelta(seconds=1))
    let_probe()
    well = factories.participant()
    messages(well, 2)
    claimed = claim.claim(4 * claim.ROWS_OF_EACH)
    assert sum(each.is_probe for each in claimed) == 6
    assert sum(each.recipient_id == well.row.pk for each in claimed) == 2
    assert len({each.id for each in claimed}) == len(claimed)

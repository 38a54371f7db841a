"""Whatever one recipient answers, the others' deliveries are settled."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from relay.delivery import claim, retry, settle, transport
from relay.delivery.claim import Claimed
from relay.delivery.retry import Outcome
from relay.delivery.settle import Attempted
from relay.models import Breaker, Delivery, State
from tests import factories

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "asked", ["Fri, 31 Dec 9999 23:59:59 -1200", "Fri, 31 Dec 9999 23:59:59 GMT", "999999999999", "9" * 400]
)
def test_a_pause_beyond_all_dates_ends_the_delivery(asked: str) -> None:
    outcome = Outcome(False, 503, "busy", 0.1, retry_after=transport.parse_retry_after(asked, NOW))
    verdict = retry.decide(outcome, attempts=1, ended_at=NOW, expires_at=NOW + timedelta(days=1))
    assert verdict.state is State.EXPIRED


@pytest.mark.django_db
def test_what_cannot_be_written_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sender, good, bad = factories.participant(), factories.participant(), factories.participant()
    for recipient in (good, bad, good):
        factories.message(sender, recipient.name)
    claimed = claim.claim(100)

    def decide(outcome: Outcome, **known: object) -> retry.Verdict:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(retry, "decide", decide)

    def attempted(each: Claimed) -> Attempted:
        is_good = each.recipient_id == good.row.pk
        return Attempted(each, Outcome(is_good, 202 if is_good else 500, "", 0.1), datetime.now(timezone.utc))

    settle.settle([attempted(each) for each in claimed])
    states = Delivery.objects.order_by("id").values_list("recipient_id", "state")
    assert list(states) == [
        (good.row.pk, State.DELIVERED),
        (bad.row.pk, State.DELIVERING),
        (good.row.pk, State.DELIVERED),
    ]
    assert not Breaker.objects.exists()

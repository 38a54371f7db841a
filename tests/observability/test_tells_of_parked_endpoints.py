"""Staff are told when an endpoint says that it is gone, since nothing is posted to it any more."""

from __future__ import annotations

import pytest
from django.utils import timezone

from observability import alerts
from observability.models import Alert
from participants import registry
from relay.delivery import breaker
from relay.delivery.breaker import FAILURES_TO_OPEN, Failures
from relay.models import Breaker
from tests import factories
from tests.factories import Registered

pytestmark = pytest.mark.django_db


def fails(registered: Registered, *, is_gone: bool) -> None:
    breaker.note(set(), {registered.row.pk: Failures(FAILURES_TO_OPEN, "no", is_gone)}, timezone.now())


def test_an_alert_opens_when_it_is_parked_and_closes_with_the_breaker() -> None:
    fails(factories.participant("tax-board"), is_gone=True)
    assert alerts.evaluate() == 1
    alert = Alert.objects.get()
    assert (alert.kind, alert.level) == ("parked", "critical")
    assert "tax-board" in alert.message
    assert alert.since == Breaker.objects.get().opened_at
    assert alerts.evaluate() == 0
    breaker.close(Breaker.objects.all(), actor="tests")
    assert alerts.evaluate() == 1
    alert.refresh_from_db()
    assert (alert.is_open, alert.reason) == (False, "recovered")
    assert "is posted to again" in alert.changes.get(step="recovered").message


def test_an_open_breaker_and_who_is_suspended_raise_none() -> None:
    fails(factories.participant(), is_gone=False)
    suspended = factories.participant()
    fails(suspended, is_gone=True)
    registry.set_status([suspended.row], "Suspended", actor="tests")
    assert alerts.evaluate() == 0


def test_who_fetches_by_now_is_not_posted_to() -> None:
    bot = factories.participant()
    fails(bot, is_gone=True)
    assert alerts.evaluate() == 1
    registry.set_own_delivery_mode(bot.row.pk, "pull")
    assert alerts.evaluate() == 1
    assert not Alert.objects.get().is_open
    registry.set_own_delivery_mode(bot.row.pk, "push")
    assert alerts.evaluate() == 1, "it is parked still"

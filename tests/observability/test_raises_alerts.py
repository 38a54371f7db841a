"""Alerts open, worsen, ease and close as the vital signs change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from observability import alerts
from observability.alerts import Wanted, compare
from observability.models import Alert, AlertChange, StateChange, VitalSigns, Watch
from participants import registry
from tests import factories
from tests.observability.conftest import NOON, Agent, Clock

pytestmark = pytest.mark.django_db
Kind, Level, Step = Alert.Kind, Alert.Level, AlertChange.Step


def steps() -> list[tuple[str, str]]:
    return list(AlertChange.objects.order_by("id").values_list("alert__kind", "step"))


def watch(clock: Clock, **span: float) -> int:
    """Lets time pass with an evaluation every 5 s, as beat does it. Returns how many alerts changed."""
    until = clock.now + timedelta(**span)
    changed = 0
    while clock.now < until:
        clock.pass_(seconds=5)
        changed += alerts.evaluate()
    return changed


def test_nothing_is_said_of_one_that_checks_in(agent: Agent, clock: Clock) -> None:
    for _ in range(5):
        agent.check_in()
        assert watch(clock, seconds=30) == 0


def test_nothing_is_said_of_one_that_was_never_heard_of(agent: Agent, clock: Clock) -> None:
    assert watch(clock, minutes=20) == 0


def test_late_then_down_then_recovered(agent: Agent, clock: Clock) -> None:
    agent.check_in()
    watch(clock, seconds=45)
    alert = Alert.objects.get()
    assert (alert.kind, alert.level, alert.participant) == (Kind.SILENCE, Level.WARNING, agent.row)
    assert alert.since == NOON + timedelta(seconds=45)
    assert "bot-tallinn" in alert.message
    assert "is late" in alert.message

    watch(clock, seconds=30)
    alert.refresh_from_db()
    assert alert.level == Level.CRITICAL
    assert "is down: its agent is silent" in alert.message
    assert alert.since == NOON + timedelta(seconds=45)

    agent.check_in()
    watch(clock, seconds=5)
    alert.refresh_from_db()
    assert (alert.recovered_at, alert.reason) == (clock.now, "recovered")
    assert steps() == [(Kind.SILENCE, each) for each in (Step.OPENED, Step.WORSENED, Step.RECOVERED)]
    contact = StateChange.objects.filter(subject="contact").order_by("id").values_list("before", "after")
    assert list(contact) == [("heard", "late"), ("late", "silent"), ("silent", "heard")]


def test_what_the_agent_says_is_an_alert_of_its_own_kind(agent: Agent, clock: Clock) -> None:
    agent.check_in(health="degraded")
    watch(clock, seconds=5)
    alert = Alert.objects.get()
    assert (alert.kind, alert.level) == (Kind.HEALTH, Level.WARNING)
    assert "is degraded, says its agent, version 1.0.0" in alert.message
    for health in ("down", "degraded", "ok"):
        agent.check_in(health=health)
        watch(clock, seconds=5)
    assert steps() == [(Kind.HEALTH, each) for each in (Step.OPENED, Step.WORSENED, Step.EASED, Step.RECOVERED)]


def test_the_last_word_of_one_that_falls_silent_stands(agent: Agent, clock: Clock) -> None:
    agent.check_in(health="down")
    watch(clock, minutes=3)
    assert set(Alert.objects.open().values_list("kind", flat=True)) == {Kind.HEALTH, Kind.SILENCE}
    agent.check_in(health="ok")
    watch(clock, seconds=5)
    assert not Alert.objects.open().exists()


def test_the_next_silence_is_a_new_alert(agent: Agent, clock: Clock) -> None:
    for _ in range(2):
        agent.check_in()
        watch(clock, seconds=50)
        agent.check_in()
        watch(clock, seconds=5)
    assert Alert.objects.count() == 2


@pytest.mark.parametrize(
    ("leave", "said"),
    [
        (lambda row: registry.set_status([row], "Suspended", actor="test"), "suspended"),
        (lambda row: registry.set_own_status(row.pk, "Disabled"), "disabled"),
        (lambda row: registry.remove_participant(row, actor="test"), "deleted"),
    ],
)
def test_one_that_is_not_to_be_up_raises_none(
    leave: Callable[[Any], Any], said: str, agent: Agent, new_agent: Callable[..., Agent], clock: Clock
) -> None:
    other = new_agent()
    agent.check_in()
    other.check_in(health="down")
    watch(clock, seconds=60)
    assert Alert.objects.open().count() == 3
    leave(agent.row)
    watch(clock, seconds=5)
    alert = Alert.objects.get(participant=agent.row)
    assert (alert.recovered_at, alert.reason) == (clock.now, f"not watched: {said}")
    assert (Kind.SILENCE, Step.DROPPED) in steps()
    assert watch(clock, minutes=2) == 1  # the other's escalation
    assert Alert.objects.open().count() == 2


def test_one_that_is_being_updated_may_be_down_for_a_while(
    agent: Agent, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    updating = {agent.row.pk}
    monkeypatch.setattr(alerts, "participants_under_update", lambda: updating)
    agent.check_in(health="down")
    assert watch(clock, seconds=20) == 0
    updating.clear()
    assert watch(clock, seconds=5) == 1


class TestUnwatched:
    def test_after_our_own_absence_agents_get_time_to_come_back(self, agent: Agent, clock: Clock) -> None:
        agent.check_in()
        watch(clock, seconds=5)
        clock.pass_(minutes=5)  # beat was stopped, or all of DMR was down
        assert alerts.evaluate() == 0
        assert watch(clock, minutes=5) == 0
        assert watch(clock, minutes=2) == 1

    def test_what_was_late_before_stays_late(self, agent: Agent, clock: Clock) -> None:
        agent.check_in()
        watch(clock, seconds=50)
        clock.pass_(minutes=5)
        assert alerts.evaluate() == 1
        assert Alert.objects.get().level == Level.CRITICAL

    def test_a_clock_that_was_set_back_hides_nobody(self, agent: Agent, clock: Clock) -> None:
        clock.pass_(days=1)
        agent.check_in()
        watch(clock, seconds=5)
        clock.pass_(days=-1)
        assert watch(clock, minutes=5) == 0
        assert watch(clock, minutes=2) == 1


class TestTogether:
    def test_a_second_evaluation_finds_nothing_left(self, agent: Agent, clock: Clock) -> None:
        agent.check_in(health="down")
        assert alerts.evaluate() == 1
        assert alerts.evaluate() == 0

    def test_the_database_refuses_a_second_open_one(self, agent: Agent, clock: Clock) -> None:
        agent.check_in(health="down")
        alerts.evaluate()
        row = Alert.objects.get()
        row.pk = None
        with pytest.raises(IntegrityError), transaction.atomic():
            row.save(force_insert=True)

    @pytest.mark.django_db(transaction=True)
    def test_two_at_once_are_harmless(self, new_agent: Callable[..., Agent]) -> None:
        for _ in range(5):
            new_agent().check_in(health="down")
        start = threading.Barrier(3)
        results: list[Any] = []

        def run() -> None:
            try:
                start.wait(5)
                results.append(alerts.evaluate())
            except BaseException as error:
                results.append(error)
            finally:
                connection.close()

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(results) == [0, 0, 5]
        assert Alert.objects.count() == AlertChange.objects.count() == 5
        assert Watch.objects.count() == 1


def test_half_the_network_may_go_silent_at_once(clock: Clock, django_assert_max_num_queries: Any) -> None:
    institution = factories.institution()
    rows = [factories.Participant(name=f"bot-{number:04}", institution=institution) for number in range(1000)]
    factories.Participant.objects.bulk_create(rows)
    VitalSigns.objects.bulk_create(
        [
            VitalSigns(participant=row, last_heard_at=NOON, told_at=NOON, sequence=1, agent_version="1", health="ok",
                       inventory_digest="", period=30, late_at=NOON, silent_at=NOON + timedelta(hours=1))
            for row in rows
        ]
    )  # fmt: skip
    with django_assert_max_num_queries(60):
        assert alerts.evaluate() == 1000


def test_comparing_is_decided_without_a_database() -> None:
    warning, critical = (Wanted(level, NOON, level.value) for level in (Level.WARNING, Level.CRITICAL))
    late = Alert(participant=factories.Participant(pk=1, name="late"), kind="silence", level="warning", since=NOON)
    table: list[tuple[Any, Any, Any, list[str]]] = [
        ({}, {}, {}, []),
        ({(1, "silence"): warning}, {}, {}, [Step.OPENED]),
        ({(1, "silence"): warning}, {(1, "silence"): late}, {}, []),
        ({(1, "silence"): critical}, {(1, "silence"): late}, {}, [Step.WORSENED]),
        ({}, {(1, "silence"): late}, {}, [Step.RECOVERED]),
        ({}, {(1, "silence"): late}, {1: "deleted"}, [Step.DROPPED]),
        ({(2, "silence"): warning}, {(1, "silence"): late}, {1: "deleted"}, [Step.OPENED, Step.DROPPED]),
    ]
    for wanted, is_open, unwatched, expected in table:
        assert [each.step for each in compare(wanted, is_open, unwatched)] == expected

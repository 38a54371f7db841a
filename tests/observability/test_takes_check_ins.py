"""POST /api/v1/agent/check-in: what is written down of it."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from observability import check_in, heartbeats
from observability.models import Component, StateChange, VitalSigns
from participants import registry
from tests.observability.conftest import CHECK_IN, NOON, PERIOD, Agent, Clock, said

pytestmark = pytest.mark.django_db


def changes(agent: Agent) -> list[tuple[str, str, str, str]]:
    rows = StateChange.objects.filter(participant=agent.row).order_by("id")
    return list(rows.values_list("component", "subject", "before", "after"))


def test_the_answer_says_when_to_come_again_and_that_nothing_is_offered(agent: Agent) -> None:
    assert agent.check_in().json() == {"nextCheckInSeconds": PERIOD, "offer": None}


def test_the_latest_is_kept(agent: Agent, clock: Clock) -> None:
    agent.check_in()
    signs = agent.signs
    assert (signs.last_heard_at, signs.told_at, signs.sequence) == (NOON, NOON, 1)
    assert (signs.release_version, signs.manifest_digest) == ("1.0.0", "sha256:" + "a" * 64)
    assert (signs.health, signs.agent_version, signs.period) == ("ok", "0.1.0", PERIOD)
    assert (signs.uptime_seconds, signs.load1) == (90_000, 0.25)
    assert (signs.memory_used_bytes, signs.disk_free_bytes) == (2**30, 2**33)
    component = Component.objects.get(participant=agent.row)
    assert (component.name, component.version, component.health) == ("bot", "1.0.0", "ok")


def test_a_participant_that_knows_no_release_and_no_measures(agent: Agent) -> None:
    unknown = dict.fromkeys(("uptimeSeconds", "load1", "memoryUsedBytes", "diskFreeBytes"))
    agent.check_in(release=None, components=[], measures=unknown)
    assert (agent.signs.release_version, agent.signs.load1) == ("", None)


def test_unknown_fields_are_ignored(agent: Agent) -> None:
    component = {"name": "bot", "version": None, "digest": None, "health": "ok", "restarts": 3}
    agent.check_in(mood="sunny", components=[component], measures={"temperature": 40})
    assert agent.signs.health == "ok"


def test_history_has_a_row_for_each_change_and_none_for_a_check_in(agent: Agent, clock: Clock) -> None:
    agent.check_in()
    first = changes(agent)
    assert ("", "health", "", "ok") in first
    assert ("", "version", "", "1.0.0") in first
    for _ in range(3):
        clock.pass_(seconds=30)
        agent.check_in()
    assert changes(agent) == first
    agent.check_in(health="degraded", release={"version": "1.1.0", "manifestDigest": "sha256:" + "a" * 64})
    assert changes(agent)[len(first) :] == [("", "health", "ok", "degraded"), ("", "version", "1.0.0", "1.1.0")]


def test_components_come_change_and_go(agent: Agent, clock: Clock) -> None:
    agent.check_in(components=[{"name": "tim", "version": "1", "digest": None, "health": "ok"}])
    before = len(changes(agent))
    clock.pass_(seconds=30)
    agent.check_in(
        components=[
            {"name": "tim", "version": "2", "digest": None, "health": "down"},
            {"name": "ruuter", "version": "7", "digest": None, "health": "ok"},
        ]
    )
    assert changes(agent)[before:] == [
        ("tim", "health", "ok", "down"),
        ("tim", "version", "1", "2"),
        ("ruuter", "health", "", "ok"),
        ("ruuter", "version", "", "7"),
    ]
    agent.check_in(components=[])
    assert not Component.objects.filter(participant=agent.row).exists()
    assert ("ruuter", "version", "7", "") in changes(agent)


def test_an_unchanged_inventory_in_another_order_costs_nothing(agent: Agent, django_assert_num_queries: Any) -> None:
    listed = [{"name": name, "version": "1", "digest": None, "health": "ok"} for name in ("a", "b", "c")]
    agent.check_in(components=listed)
    said_again = check_in.parse(said(9, components=listed[::-1]))
    with django_assert_num_queries(5):  # the transaction's two, present, lock, update
        heartbeats.record(agent.row.pk, said_again, PERIOD)


class TestSequence:
    def test_a_repeat_gets_the_same_answer_and_overwrites_nothing(self, agent: Agent, clock: Clock) -> None:
        agent.check_in(sequence=7, health="down")
        clock.pass_(seconds=5)
        for old in (7, 6):
            repeated = agent.post(said(old, release={"version": "0.9.0", "manifestDigest": "sha256:0"}))
            assert (repeated.status_code, repeated.json()) == (200, {"nextCheckInSeconds": PERIOD, "offer": None})
        assert (agent.signs.health, agent.signs.release_version, agent.signs.sequence) == ("down", "1.0.0", 7)
        assert agent.signs.told_at == NOON

    def test_a_repeat_says_that_the_agent_lives(self, agent: Agent, clock: Clock) -> None:
        agent.check_in(sequence=7)
        now = clock.pass_(seconds=40)
        agent.post(said(7))
        assert agent.signs.last_heard_at == now
        assert agent.signs.late_at > now

    def test_an_agent_that_lost_its_journal_is_believed_again(self, agent: Agent, clock: Clock) -> None:
        agent.check_in(sequence=900)
        now = clock.pass_(seconds=heartbeats.REPEATS_WITHIN.total_seconds())
        agent.check_in(sequence=1, health="degraded")
        assert (agent.signs.sequence, agent.signs.health, agent.signs.told_at) == (1, "degraded", now)

    def test_updates_are_asked_about_what_is_known_and_not_about_an_old_check_in(
        self, agent: Agent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[tuple[Any, ...]] = []

        def ask(*values: Any, may_install: bool) -> None:
            asked.append((*values, may_install))

        monkeypatch.setattr("updates.agent_protocol.check_in", ask)
        agent.check_in(sequence=7)
        agent.post(said(3, release=None))
        assert asked[1] == asked[0] == (agent.row.pk, "1.0.0", "sha256:" + "a" * 64, True)


class TestWhoMayCheckIn:
    def test_without_a_key(self, client: Any) -> None:
        response = client.post(CHECK_IN, said(), content_type="application/json")
        assert response.status_code == 401
        assert response["Content-Type"] == "application/problem+json"

    def test_with_a_staff_key(self, client: Any, staff_key: str) -> None:
        response = client.post(CHECK_IN, said(), content_type="application/json", headers={"X-Api-Key": staff_key})
        assert response.status_code == 403

    def test_a_suspended_participant_is_heard(self, agent: Agent) -> None:
        registry.set_status([agent.row], "Suspended", actor="test")
        agent.check_in()
        assert agent.signs.health == "ok"

    def test_a_deleted_participant_has_no_key(self, agent: Agent) -> None:
        agent.check_in()
        registry.remove_participant(agent.row, actor="test")
        assert agent.post(said(2)).status_code == 401

    def test_one_that_is_deleted_in_the_middle_leaves_nothing(
        self, agent: Agent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parse = check_in.parse

        def parse_and_delete(body: Any) -> Any:
            registry.remove_participant(agent.row, actor="test")
            return parse(body)

        monkeypatch.setattr(check_in, "parse", parse_and_delete)
        response = agent.post(said())
        assert response.status_code == 404
        assert response.json()["type"] == "urn:problem-type:dmr:participant-left"
        assert not VitalSigns.objects.filter(participant=agent.row).exists()


def test_the_agents_clock_does_not_matter(agent: Agent, clock: Clock) -> None:
    agent.check_in(time="1970-01-01T00:00:00Z", sentAt=99999999999999)
    assert agent.signs.last_heard_at == NOON


@pytest.mark.django_db(transaction=True)
def test_two_first_check_ins_at_once_make_one_row(agent: Agent) -> None:
    errors: list[BaseException] = []
    start = threading.Barrier(4)

    def run(number: int) -> None:
        try:
            start.wait(5)
            heartbeats.record(agent.row.pk, check_in.parse(said(number)), PERIOD)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    assert agent.signs.sequence == 4 or agent.signs.last_heard_at - agent.signs.told_at < timedelta(seconds=30)
    assert Component.objects.filter(participant=agent.row).count() == 1

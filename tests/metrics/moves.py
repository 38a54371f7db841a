"""What moves each metric: one function a metric, by its name in docs/metrics.md. A new metric needs one here."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.db import DatabaseError
from django.test import Client

from observability import alerts, collectors, notices
from participants import applications, key_notices, mail, registry
from participants.models import Application
from relay import announcements, limits
from relay.delivery import breaker, claim, dead_letter, settle, sweeper, wake
from relay.delivery.breaker import Failures
from relay.delivery.engine import Engine
from relay.delivery.retry import Outcome
from relay.delivery.settle import Attempted
from relay.inbox import answers, leases
from relay.inbox.waiting import polls
from relay.models import Delivery, State, StoredBytes
from relay.shared_bucket import InFile
from relay.token_bucket import Buckets
from staff import second_factor, throttle, totp
from tests import factories
from tests.factories import Registered
from tests.joining.conftest import FORM
from tests.observability.conftest import Agent
from tests.staff.people import browser, person
from tests.updates.staff import Staff, bring_to, in_wave


@dataclass
class World:
    """What a move has at hand."""

    client: Client
    monkeypatch: pytest.MonkeyPatch
    folder: Path
    engine: Callable[[], Engine]
    later: ExitStack  # what is to be undone after the metric was looked at

    def post(self, sender: Registered, send_to: str, **more: Any) -> None:
        headers = {**sender.auth, "X-Sent-By": sender.name, "X-Send-To": send_to, "X-Message-Id": str(uuid.uuid4())}
        headers |= more.pop("headers", {})
        self.client.generic("POST", "/messages", b"payload", "text/plain", headers=headers, **more)


Move = Callable[[World], object]
MOVES: dict[str, Move] = {}
WITH_TRANSACTIONS = {"dmr_pump_runs_total"}  # whose moves use a thread's own connection


def moves(*names: str) -> Callable[[Move], Move]:
    def enter(move: Move) -> Move:
        assert not MOVES.keys() & set(names)
        MOVES.update(dict.fromkeys(names, move))
        return move

    return enter


def now() -> datetime:
    return datetime.now(timezone.utc)


def two() -> tuple[Registered, Registered]:
    return factories.participant(), factories.participant()


# -- the relay --


@moves("dmr_http_answers_total", "dmr_messages_accepted_total")
def post(world: World) -> None:
    sender, recipient = two()
    world.post(sender, recipient.name)


@moves("dmr_accept_latency_seconds")
def post_what_was_read_a_moment_ago(world: World) -> None:
    sender, recipient = two()
    world.post(sender, recipient.name, **{"dmr.read_at": time.perf_counter()})  # as dmr_project.rsgi notes it


@moves("dmr_messages_repeated_total")
def post_twice(world: World) -> None:
    sender, recipient = two()
    for _ in range(2):
        world.post(sender, recipient.name, headers={"X-Message-Id": "3f6d2c1e-8a47-4c0e-9b57-6a1f0e2d4b88"})


@moves("dmr_messages_refused_total")
def post_with_an_id_that_is_none(world: World) -> None:
    sender, recipient = two()
    world.post(sender, recipient.name, headers={"X-Message-Id": "none"})


@moves("dmr_rate_limit_unavailable_total")
def post_without_the_shared_buckets(world: World) -> None:
    world.monkeypatch.setattr(limits, "_buckets", Buckets(InFile(world.folder / "nowhere" / "rates")))
    post(world)


@moves("dmr_keyless_requests_total")
def post_from_a_source_network(world: World) -> None:
    sender = factories.participant(source_networks="10.1.2.0/24")
    world.post(sender, sender.name, headers={"X-Api-Key": ""}, REMOTE_ADDR="10.1.2.3")


@moves("dmr_bad_keys_total")
def come_with_a_key_that_nobody_has(world: World) -> None:
    world.client.get("/centops/public/participants", headers={"X-Api-Key": "nobody-has-this-key"})


@moves("dmr_error_messages_total")
def post_to_nobody(world: World) -> None:
    world.post(factories.participant(), "nobody-at-all")


@moves("dmr_delivery_attempts_total", "dmr_deliveries_settled_total", "dmr_delivery_latency_seconds")
def deliver(world: World, **of_the_sender: Any) -> None:
    factories.delivery(factories.participant(**of_the_sender), factories.participant())
    settle.settle([Attempted(each, Outcome(True, 202, "", 0.1), now()) for each in claim.claim(10)])


@moves("dmr_receipts_total")
def deliver_of_a_sender_that_wants_receipts(world: World) -> None:
    deliver(world, wants_receipts=True)


@moves("dmr_announcements_total")
def tell_a_participant_that_it_is_registered(world: World) -> None:
    factories.participant()
    announcements.send()


@moves("dmr_outages_total")
def announce_an_outage(world: World) -> None:
    factories.outage(factories.participant())


@moves("dmr_dead_letters_handled_total")
def requeue(world: World) -> None:
    row = factories.delivery(*two(), state=State.DEAD, ended_at=now())
    assert dead_letter.requeue(Delivery.objects.filter(pk=row.pk)) == 1


@moves("dmr_wakes_total")
def wake_a_pump(world: World) -> None:
    world.monkeypatch.setattr(wake, "publish", lambda: "sent")
    wake.pump()


@moves("dmr_pump_runs_total")
def run_a_pump(world: World) -> None:
    world.engine().pump()


@moves("dmr_breaker_transitions_total", "dmr_breakers")
def fail_until_the_breaker_opens(world: World) -> None:
    breaker.note(set(), {factories.participant().row.pk: Failures(breaker.FAILURES_TO_OPEN, "down", False)}, now())


def lose_a_lease(mode: str) -> None:
    columns = {"state": State.DELIVERING, "lease_token": 1, "lease_until": now() - timedelta(seconds=1)}
    factories.delivery(factories.participant(), factories.participant(delivery_mode=mode), **columns)
    sweeper.return_lost_leases()


@moves("dmr_leases_lost_total")
def lose_a_worker(world: World) -> None:
    lose_a_lease("push")


@moves("dmr_inbox_leases_lost_total")
def lose_what_was_fetched(world: World) -> None:
    lose_a_lease("pull")


# -- inboxes --


def pulling() -> Registered:
    return factories.participant(delivery_mode="pull")


def fetch() -> tuple[Registered, list[str]]:
    recipient = pulling()
    factories.delivery(factories.participant(), recipient)
    return recipient, [str(each.handle) for each in leases.hand_out(recipient.entry, most=1, seconds=60)]


@moves("dmr_inbox_polls_total")
def poll(world: World) -> None:
    world.client.get("/api/v1/inbox", headers=pulling().auth)


@moves("dmr_inbox_waiting")
def wait(world: World) -> None:
    place = polls.take(pulling().row.pk, 10)
    assert place is not None
    world.later.callback(polls.leave, place)


@moves("dmr_inbox_leased_total")
def lease(world: World) -> None:
    fetch()


@moves("dmr_inbox_settled_total")
def acknowledge(world: World) -> None:
    recipient, held = fetch()
    answers.acknowledge(recipient.entry, held)


# -- staff and joining --


@moves("dmr_log_ins_refused_total")
def guess_a_password(world: World) -> None:
    world.client.post("/admin/login/", {"username": "mari", "password": "a guess"})


@moves("dmr_staff_log_ins_throttled_total")
def guess_again_and_again(world: World) -> None:
    while not throttle.take([throttle.of_account("mari")]):
        pass


@moves("dmr_staff_codes_total")
def guess_a_code(world: World) -> None:
    user, secret = person("viewer"), totp.new_secret()
    second_factor.set_up(user, secret, totp.code(secret, int(now().timestamp()) // totp.STEP_SECONDS))
    with pytest.raises(second_factor.WrongCode):
        second_factor.check(user, "no code")


@moves("dmr_staff_sign_ons_total")
def come_back_from_a_provider_to_which_nobody_went(world: World) -> None:
    world.monkeypatch.setattr("django.conf.settings.OIDC_ISSUER", "https://id.example.ee")
    world.client.get("/admin/login/sign-on/done/?state=x&code=y")


@moves("dmr_staff_sessions_ended_total")
def come_back_after_a_pause(world: World) -> None:
    client = browser(person("viewer"))
    client.get("/admin/")
    with time_machine.travel(now() + timedelta(minutes=45)):
        client.get("/admin/")


@moves("dmr_applications_total")
def apply(world: World) -> None:
    applications.apply(Application(**FORM, language="en"))


@moves("dmr_mails_total")
def send_what_an_application_causes(world: World) -> None:
    apply(world)
    mail.send()


@moves("dmr_key_notices_total")
def tell_of_a_key_that_expires(world: World) -> None:
    bot = factories.participant(contact_email="mari@amet.test")
    registry.issue_key(bot.row, actor="tests", expires_at=now() + timedelta(days=60))
    with time_machine.travel(now() + timedelta(days=40)):
        key_notices.send()


# -- updates and the fleet --


@moves("dmr_target_transitions_total", "dmr_agent_reports_total")
def accept_an_update(world: World) -> None:
    bring_to(in_wave(Staff().rollout(), 1)[0], "accepted")


@moves("dmr_check_ins_total")
def check_in(world: World, **said: Any) -> None:
    Agent(world.client, factories.participant()).check_in(**said)


@moves("dmr_alert_changes_total", "dmr_alerts_open")
def fall_ill(world: World) -> None:
    check_in(world, health="down")
    alerts.evaluate()


@moves("dmr_alert_mails_total")
def tell_of_it(world: World) -> None:
    fall_ill(world)
    notices.send()


@moves("dmr_participants", "dmr_fleet_instances")
def register(world: World) -> None:
    factories.participant()


@moves("dmr_rollouts")
def start_a_rollout(world: World) -> None:
    Staff().rollout()


@moves("dmr_deliveries_pending", "dmr_oldest_due_seconds")
def leave_something_waiting(world: World) -> None:
    factories.delivery(*two(), due_at=now() - timedelta(seconds=30))


@moves("dmr_deliveries_in_flight")
def have_something_under_way(world: World) -> None:
    factories.delivery(*two())
    assert len(claim.claim(10)) == 1


@moves("dmr_stored_payload_bytes")
def store(world: World) -> None:
    StoredBytes.objects.create(participant=factories.participant().row, size=1024)


@moves("dmr_fleet_readable")
def lose_the_database(world: World) -> None:
    def fail() -> None:
        raise DatabaseError("gone")

    world.monkeypatch.setattr(collectors, "participants", fail)

"""A network in which every page of the admin has something to show."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from observability import alerts
from observability.models import Alert, AlertChange, Component, Health, StateChange, VitalSigns
from observability.states import State as InstanceState
from participants import applications, endpoint_terms, invitations, registry
from participants.models import Application, Language, Participant
from relay import delivery_keys
from relay.delivery import retry, transport
from relay.delivery.retry import Outcome
from relay.models import Attempt, Breaker, DeadLetterJob, State, StoredBytes
from tests import factories
from tests.updates.staff import Staff, check_in, report
from updates import reports, scheduler
from updates.models import Target


def build(user: User) -> None:
    now = timezone.now()
    ours = factories.institution("Xqamet")
    one = factories.participant("xq-bot-1", institution=ours, source_networks="10.1.2.0/24", contact_name="Xqmari")
    two = factories.participant("xq-bot-2", institution=ours)
    gone = factories.participant("xq-bot-3", institution=ours)
    factories.participant("xq-bot-4", institution=ours, status=Participant.Status.PENDING)
    room = factories.room("xqruum", one, two)
    registry.revoke_key(gone.row.keys.get(), actor="tests", reason="xq")
    _messages(one, two, now)
    _joining(user)
    factories.outage(one, text_en="xq", text_et="xq")
    factories.outage(two, begins_in=3600, text_en="xq", text_et="xq")
    factories.outage(two, begins_in=-60, seconds=None, text_en="xq", text_et="xq")
    _watched(one, now)
    endpoint_terms.change(one.row, endpoint_terms.Given(allowed_networks="10.2.0.0/16"), actor="tests", reason="xq")
    assert room.pk


def _messages(one: Any, two: Any, now: Any) -> None:
    factories.delivery(one, two, state=State.DELIVERED, delivered_at=now, ended_at=now, last_seconds=0.25)
    factories.delivery(one, two)
    said = transport.ANSWERED(status=500)
    why = retry.decide(
        Outcome(False, 500, said, 1.0), attempts=retry.MOST_ATTEMPTS, ended_at=now, expires_at=now
    ).reason
    dead = factories.delivery(one, two, state=State.DEAD, ended_at=now, last_error=why, last_status=500, attempts=2)
    factories.delivery(one, two, state=State.DEAD, ended_at=now, discarded_at=now, last_error="xq")
    Attempt.objects.create(delivery=dead, number=1, at=now, seconds=0.5, status=500, error=said, answer="xq")
    Breaker.objects.create(
        recipient=two.row,
        state=Breaker.State.OPEN,
        failures=3,
        opened_at=now,
        probe_at=now,
        last_error=said,
    )
    StoredBytes.objects.update_or_create(participant=one.row, defaults={"size": 2_000_000_000, "counted_at": now})
    DeadLetterJob.objects.create(
        recipient_name="xq-bot-2", until=now, requested_by="xq", requested_at=now, estimate=3, done=1,
        left={"recipient-gone": 1},
    )  # fmt: skip
    DeadLetterJob.objects.create(
        action=DeadLetterJob.Action.DISCARD, since=now, until=now, requested_by="xq", requested_at=now,
        estimate=3, state=DeadLetterJob.State.DONE, finished_at=now,
    )  # fmt: skip
    delivery_keys.rotate(actor="tests", reason="xq")


def _joining(user: User) -> None:
    invitations.invite("xq@amet.test", user, language=Language.ESTONIAN)
    form = {
        "institution_name": "Xqsaal", "contact_name": "Xqmari", "contact_email": "mari@xq.test",
        "technical_name": "Xqtamm", "technical_email": "tamm@xq.test", "type": "Chatbot",
        "components": ["ruuter-public"], "language": "et",
    }  # fmt: skip
    applications.apply(Application(name="xq-bot-5", host="https://xq5.test/messages", **form))
    done = applications.apply(
        Application(name="xq-bot-6", host="https://xq6.test/messages", **form | {"institution_name": "Xqsaal 2"})
    )
    approver = User.objects.create_superuser("xqapprover")
    applications.approve(done, approver)


def _watched(one: Any, now: Any) -> None:
    signs, _ = VitalSigns.objects.update_or_create(
        participant=one.row,
        defaults={
            "sequence": 1, "agent_version": "0.1.0", "release_version": "1.0.0", "health": Health.DEGRADED,
            "uptime_seconds": 90_000, "load1": 0.25, "memory_used_bytes": 2**30, "disk_free_bytes": 2**33,
            "last_heard_at": now, "told_at": now, "inventory_digest": "xq", "late_at": now + timedelta(hours=1),
            "silent_at": now + timedelta(hours=2),
            "period": 30,
        },
    )  # fmt: skip
    Component.objects.create(participant=one.row, name="xqkomponent", version="1.0.0", health=Health.OK, since=now)
    StateChange.objects.create(
        participant=one.row, at=now, subject=StateChange.Subject.HEALTH, before="ok", after="degraded"
    )
    StateChange.objects.create(
        participant=one.row, at=now, subject=StateChange.Subject.CONTACT, before="heard", after="late"
    )
    alert = Alert.objects.create(
        participant=one.row,
        kind=Alert.Kind.HEALTH,
        level=Alert.Level.WARNING,
        since=now,
        message=alerts._unwell(signs),
    )
    AlertChange.objects.create(alert=alert, step=AlertChange.Step.OPENED, at=now, message=alert.message)
    Alert.objects.create(
        participant=one.row,
        kind=Alert.Kind.SILENCE,
        level=Alert.Level.CRITICAL,
        since=now,
        recovered_at=now,
        message=alerts._silence(signs, InstanceState.SILENT),
        reason=alerts.RECOVERED,
    )
    staff = Staff()
    staff.draft("1.0.5")
    rollout = staff.rollout(instances=0, version="1.1.0", waves=(100,))
    target = Target.objects.filter(rollout=rollout, participant__held_from=None).first()  # the others are spared
    assert target is not None
    assert check_in(target) is not None
    with suppress(reports.Contradiction):
        report(target, "installing", "xq")
    report(target, "accepted")
    report(target, "failed", "xq")
    scheduler.tick()  # pauses it

"""Messages and their deliveries: the payload is written once, the row that changes is narrow."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext

from participants.models import Participant, Room
from participants.models.signing import SigningKey, ends_in_order
from relay.querysets import (
    AttemptQuerySet,
    BreakerQuerySet,
    DeliveryQuerySet,
    MessageQuerySet,
    StoredBytesQuerySet,
)

ERROR_TYPE = "application/vnd.dmr.error+json"


class State(models.TextChoices):
    PENDING = "pending"  # due at due_at
    DELIVERING = "delivering"  # claimed by a pump until lease_until
    DELIVERED = "delivered"
    EXPIRED = "expired"  # its time to live ended first
    DEAD = "dead"  # a dead letter: not tried again by itself


FINAL = (State.DELIVERED, State.EXPIRED, State.DEAD)

# What will not be tried again by itself, and nobody has discarded; DeliveryQuerySet.dead_letters says the same.
DEAD_LETTERS = Q(state__in=("dead", "expired"), discarded_at=None)


class Message(models.Model):
    """An opaque payload with routing headers; immutable once accepted."""

    # Both this and Delivery.recipient have an index below in place of a foreign key's own.
    sender = models.ForeignKey(Participant, on_delete=models.PROTECT, related_name="sent_messages", db_index=False)
    message_id = models.UUIDField()  # as compared
    written_id = models.CharField(max_length=50)  # as the sender wrote it, and as it is forwarded
    written_ref = models.CharField("reference", max_length=255, blank=True)
    sent_by = models.CharField(max_length=50)  # the sender's name, or Classifier, or Dmr
    send_to = models.CharField(max_length=255)  # as the sender wrote it
    model_type = models.CharField(max_length=255, blank=True)
    conversation = models.CharField(max_length=255, blank=True)
    content_type = models.CharField(max_length=255)
    is_to_room = models.BooleanField(default=False)  # send_to is a room's name: one delivery for each other member
    room = models.ForeignKey(Room, on_delete=models.SET_NULL, null=True, related_name="messages")
    payload = models.BinaryField()
    payload_deleted_at = models.DateTimeField(null=True)
    payload_size = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)  # SHA-256 of all that makes a repeat the same message
    accepted_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    objects = MessageQuerySet.as_manager()

    class Meta:
        constraints = (
            # accept.accept: the same id of the same sender is accepted once.
            models.UniqueConstraint(fields=("sender", "message_id"), name="message_id_is_unique_per_sender"),
        )
        indexes = (
            # MessageQuerySet.received_by.
            models.Index(fields=("message_id",), name="message_by_id"),
            # observability.traffic: what a participant sent in the last hour.
            models.Index(fields=("sender", "accepted_at"), name="message_sent"),
        )

    def __str__(self) -> str:
        return gettext("%(written_id)s from %(sent_by)s") % {"written_id": self.written_id, "sent_by": self.sent_by}

    @property
    def is_error(self) -> bool:
        """Does it say that another message failed? Then nothing is said of its own failure."""
        return self.model_type.split(";")[0].strip().lower() == ERROR_TYPE


class Delivery(models.Model):
    """One message on its way to one recipient."""

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="deliveries")
    # None where the name addressed is nobody's.
    recipient = models.ForeignKey(
        Participant, on_delete=models.PROTECT, null=True, related_name="deliveries", db_index=False
    )
    recipient_name = models.CharField(max_length=255)
    # Its message's (which has the constraint), so that an index leads to a sender's dead letters. None where the
    # release before has stored it.
    sender = models.ForeignKey(
        Participant, on_delete=models.PROTECT, null=True, related_name="+", db_index=False, db_constraint=False
    )
    conversation = models.CharField(max_length=255, blank=True)  # its message's
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    due_at = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    lease_token = models.BigIntegerField(null=True)  # which claim holds it
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    last_status = models.PositiveSmallIntegerField(null=True)
    last_seconds = models.FloatField(null=True)  # that the last attempt took
    last_error = models.CharField(max_length=255, blank=True)
    discarded_at = models.DateTimeField(null=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        permissions = (
            ("requeue_delivery", "Can requeue dead letters"),
            ("discard_delivery", "Can discard deliveries"),
        )
        constraints = (
            models.CheckConstraint(
                condition=~Q(state="delivering") | Q(lease_until__isnull=False, lease_token__isnull=False),
                name="delivering_has_a_lease",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=("pending", "delivering")) | Q(recipient__isnull=False),
                name="what_is_under_way_has_a_recipient",
            ),
            # delivery.claim: never two in flight for one conversation, whatever two pumps do at once.
            models.UniqueConstraint(
                fields=("recipient", "conversation"),
                condition=Q(state="delivering") & ~Q(conversation=""),
                name="one_in_flight_per_conversation",
            ),
        )
        indexes = (
            # observability.traffic: what was accepted for a participant in the last hour.
            models.Index(fields=("recipient", "accepted_at"), name="delivery_received"),
            # delivery.claim: what is due, recipient by recipient.
            models.Index(fields=("recipient", "due_at", "id"), condition=Q(state="pending"), name="delivery_due"),
            # delivery.claim: has a conversation anything earlier that has not ended?
            models.Index(
                fields=("recipient", "conversation", "id"),
                condition=Q(state__in=("pending", "delivering")) & ~Q(conversation=""),
                name="delivery_conversation",
            ),
            # delivery.claim.next_due.
            models.Index(fields=("due_at",), condition=Q(state="pending"), name="delivery_next_due"),
            # delivery.sweeper: leases that have run out.
            models.Index(fields=("lease_until",), condition=Q(state="delivering"), name="delivery_lease"),
            # delivery.sweeper: held too long.
            models.Index(fields=("expires_at",), condition=Q(state="pending"), name="delivery_expiry"),
            # The admin's list of open dead letters.
            models.Index(
                F("id").desc(),
                condition=DEAD_LETTERS,
                name="delivery_dead_letters",
            ),
            # dead_letters.Scope: everybody's, those to a recipient, those of a sender, each since some time.
            models.Index(fields=("ended_at", "id"), condition=DEAD_LETTERS, name="dead_letters_by_end"),
            models.Index(
                fields=("recipient_name", "ended_at", "id"), condition=DEAD_LETTERS, name="dead_letters_to_recipient"
            ),
            models.Index(fields=("sender", "ended_at", "id"), condition=DEAD_LETTERS, name="dead_letters_of_sender"),
        )

    def __str__(self) -> str:
        return gettext("%(message_id)s to %(recipient_name)s") % {
            "message_id": self.message_id,
            "recipient_name": self.recipient_name,
        }


class Attempt(models.Model):
    """One failed attempt at a delivery. Successes have no row: the delivery says all there is to say."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="history")
    number = models.PositiveSmallIntegerField()
    at = models.DateTimeField()
    seconds = models.FloatField()
    status = models.PositiveSmallIntegerField(null=True)
    error = models.CharField(max_length=255)
    # How the recipient's answer began, fit to be shown; see delivery.answers. Goes when the payload goes.
    answer = models.TextField(blank=True, default="", db_default="")

    objects = AttemptQuerySet.as_manager()

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return gettext("attempt %(number)s: %(error)s") % {"number": self.number, "error": self.error}


class Breaker(models.Model):
    """What the attempts at one recipient have come to, for all pumps: whether it is worth trying now.

    Recipients that have never failed have no row.
    """

    class State(models.TextChoices):
        CLOSED = "closed"  # it is tried
        OPEN = "open"  # it fails: one probe at a time, with growing pauses
        PARKED = "parked"  # it said 410 Gone: held until staff close the breaker

    recipient = models.OneToOneField(Participant, on_delete=models.CASCADE, primary_key=True, related_name="breaker")
    state = models.CharField(max_length=6, choices=State.choices, default=State.CLOSED)
    failures = models.PositiveIntegerField(default=0)  # in a row
    opened_at = models.DateTimeField(null=True)
    probe_at = models.DateTimeField(null=True)  # when the next attempt may be made while it is open
    last_error = models.CharField(max_length=255, blank=True)

    objects = BreakerQuerySet.as_manager()

    class Meta:
        permissions = (("close_breaker", "Can close breakers"),)
        constraints = (
            models.CheckConstraint(
                condition=~Q(state="open") | Q(probe_at__isnull=False), name="an_open_breaker_has_a_probe"
            ),
        )
        indexes = (
            # breaker.next_probe.
            models.Index(fields=("probe_at",), condition=Q(state="open"), name="breaker_probe"),
        )

    def __str__(self) -> str:
        return f"{self.recipient}: {self.get_state_display()}"


class StoredBytes(models.Model):
    """How many bytes of payload a sender has stored; kept by relay.stored_bytes."""

    participant = models.OneToOneField(
        Participant, on_delete=models.CASCADE, primary_key=True, related_name="stored_bytes"
    )
    # Below 0 for a moment where retention takes off what has not been added yet.
    size = models.BigIntegerField(default=0, db_default=0)
    counted_at = models.DateTimeField(null=True)  # when its rows were last summed up

    objects = StoredBytesQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "stored bytes"

    def __str__(self) -> str:
        return gettext("%(participant)s: %(size)s bytes") % {"participant": self.participant, "size": self.size}


class PayloadDue(models.Model):
    """A payload that is to be deleted at `due_at`, if no delivery of its message is still open then."""

    message = models.OneToOneField(Message, on_delete=models.CASCADE, primary_key=True, related_name="+")
    due_at = models.DateTimeField(db_index=True)  # retention.delete_payloads reads it in this order

    class Meta:
        verbose_name_plural = "payloads due"

    def __str__(self) -> str:
        return gettext("%(message_id)s at %(due_at)s") % {"message_id": self.message_id, "due_at": self.due_at}


class DeliveryKey(SigningKey):
    """Signs what leaves; relay.delivery_keys."""

    class Meta:
        ordering = ("-number",)
        permissions = (("rotate_deliverykey", "Can rotate and replace delivery keys"),)
        constraints = (ends_in_order("delivery_key_ends_in_order"),)


class DeadLetterJob(models.Model):
    """Many dead letters being requeued or discarded, batch by batch; relay.dead_letter_jobs works it off.

    What was done, and how far it has come, is written in the transaction of each batch: whoever dies in between,
    the next one goes on from there.
    """

    class Action(models.TextChoices):
        REQUEUE = "requeue"
        DISCARD = "discard"

    class State(models.TextChoices):
        RUNNING = "running"
        DONE = "done"
        STOPPED = "stopped"  # by somebody, before its end

    public_id = models.UUIDField("id", default=uuid.uuid4, editable=False, unique=True)
    action = models.CharField(max_length=7, choices=Action.choices, default=Action.REQUEUE)
    # Which: whose messages (None: everybody's), to whom (empty: to all), ended between when.
    sender = models.ForeignKey(Participant, on_delete=models.PROTECT, null=True, related_name="+", db_index=False)
    recipient_name = models.CharField("recipient", max_length=255, blank=True)
    since = models.DateTimeField(null=True)
    until = models.DateTimeField()  # at most the moment it was asked for: what dies again later is not in it
    requested_by = models.CharField(max_length=150)
    requested_at = models.DateTimeField()
    estimate = models.PositiveIntegerField()  # how many there were, counted up to dead_letter_jobs.MOST_COUNTED
    done = models.PositiveIntegerField(default=0)
    left = models.JSONField(default=dict)  # obstacle -> how many stayed dead letters because of it
    reached_at = models.DateTimeField(null=True)  # up to this end, and of equal ones up to this key
    reached_id = models.BigIntegerField(default=0)
    state = models.CharField(max_length=7, choices=State.choices, default=State.RUNNING)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "requeue or discard of many"
        verbose_name_plural = "requeues and discards of many"
        constraints = (
            models.CheckConstraint(
                condition=Q(state="running", finished_at=None) | ~Q(state="running") & Q(finished_at__isnull=False),
                name="a_job_that_runs_has_no_end",
            ),
            # dead_letter_jobs.start: a sender waits for one before it asks for the next.
            models.UniqueConstraint(
                fields=("sender",), condition=Q(state="running"), name="one_running_job_of_a_sender"
            ),
        )
        indexes = (
            # dead_letter_jobs.work_off.
            models.Index(fields=("id",), condition=Q(state="running"), name="dead_letter_job_running"),
        )

    def __str__(self) -> str:
        is_requeue = self.action == self.Action.REQUEUE
        parts = [gettext("requeue dead letters") if is_requeue else gettext("discard dead letters")]
        if self.recipient_name:
            parts.append(gettext("to %(recipient_name)s") % {"recipient_name": self.recipient_name})
        if self.since:
            parts.append(
                gettext("since %(since)s") % {"since": f"{timezone.localtime(self.since):%Y-%m-%d %H:%M:%S}"}
            )
        return " ".join(parts)

    @property
    def is_running(self) -> bool:
        return self.state == self.State.RUNNING

    @property
    def count_left(self) -> int:
        return sum(self.left.values())

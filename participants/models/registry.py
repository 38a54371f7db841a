"""The registry's rows. What changes them is in registry and rooms.py, and leaves a Change."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from participants import names, scopes
from participants.querysets import (
    ApiKeyQuerySet,
    InstitutionQuerySet,
    ParticipantQuerySet,
)

MEBIBYTE = 1024 * 1024
DAY = 24 * 3600
DEFAULT_PAYLOAD_LIMIT = MEBIBYTE  # bytes
DEFAULT_TIME_TO_LIVE = DAY  # seconds
DEFAULT_RETENTION = DAY  # seconds


class Institution(models.Model):
    """A ministry or agency; owns participants."""

    class Status(models.TextChoices):
        ACTIVE = "Active"
        DISABLED = "Disabled"

    public_id = models.UUIDField("id", default=uuid.uuid4, editable=False, unique=True)
    name = models.CharField(max_length=50, validators=[names.validate_institution])
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.ACTIVE)
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True, editable=False)

    objects = InstitutionQuerySet.as_manager()

    class Meta:
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(
                fields=("name",), condition=Q(deleted_at=None), name="institution_name_is_unique"
            ),
        )

    def __str__(self) -> str:
        return self.name


class Participant(models.Model):
    """One component in the network. Deleted ones stay as rows, since messages name them, but free their name."""

    class Type(models.TextChoices):
        CHATBOT = "Chatbot"
        CLASSIFIER = "Classifier"
        DMR = "Dmr"

    class Status(models.TextChoices):
        """What each means for sending and receiving: participants.statuses."""

        PENDING = "Pending", _("Pending")  # registered, and not let in yet: nobody knows it
        ACTIVE = "Active", _("Active")  # sends and receives
        SUSPENDED = "Suspended", _("Suspended")  # by staff: does not send, what is addressed to it is held
        DISABLED = (
            "Disabled",
            _("Disabled"),
        )  # by itself or the registry API: the same, but it may come back by itself
        REVOKED = "Revoked", _("Revoked")  # by staff: its keys are void, nobody knows it; its name stays taken
        DELETED = "Deleted", _("Deleted")  # gone: the same, and its name is free

    class DeliveryMode(models.TextChoices):
        PUSH = "push"  # messages are posted to its endpoint
        PULL = "pull"  # it fetches them from its inbox

    class Announcements(models.TextChoices):
        NONE = "none", _("nothing")
        IMPORTANT = "important", _("registration, outages, software updates")
        ALL = "all", _("these, and that participants changed")

    public_id = models.UUIDField("id", default=uuid.uuid4, editable=False, unique=True)
    institution = models.ForeignKey(Institution, on_delete=models.PROTECT, related_name="participants")
    name = models.CharField(
        max_length=50,
        validators=[names.validate_name],
        help_text="4 to 50 printable ASCII characters; the others address it by this name.",
    )
    type = models.CharField(max_length=10, choices=Type.choices, default=Type.CHATBOT)
    host = models.CharField(
        "endpoint",
        max_length=100,
        validators=[names.validate_host],
        help_text="Full URL to which messages are posted, such as http://bot:8080/dmr-api/messages.",
    )
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.ACTIVE)
    status_reason = models.CharField(
        _("reason of the status"), max_length=500, blank=True, default="", db_default="", editable=False
    )
    # Of a suspension; None: until staff lift it.
    suspended_until = models.DateTimeField(_("suspended until"), null=True, blank=True, editable=False)
    # What it is again when its suspension ends: it may have disabled itself before.
    resumes_as = models.CharField(
        max_length=10, default=Status.ACTIVE, db_default=Status.ACTIVE.value, editable=False
    )
    # The outage that it is in or comes into next: what is addressed to it is held. Kept by participants.outages.
    held_from = models.DateTimeField(null=True, editable=False)
    held_until = models.DateTimeField(null=True, editable=False)
    success_statuses = models.CharField(
        max_length=100,
        default="2xx",
        validators=[names.validate_statuses],
        help_text="Which answers mean that it has the message, such as 2xx or 2xx,300 "
        "(a recipient built on Ruuter that returns nothing answers 300).",
    )
    delivery_mode = models.CharField(
        max_length=4,
        choices=DeliveryMode.choices,
        default=DeliveryMode.PUSH,
        db_default=DeliveryMode.PUSH.value,  # the release before this one inserts without it
        help_text="Push: messages are posted to its endpoint. Pull: it fetches them from /api/v1/inbox, for one that "
        "cannot be reached from outside; its endpoint is then not called.",
    )
    source_networks = models.CharField(
        "believed without a key from",
        max_length=200,
        blank=True,
        validators=[names.validate_networks],
        help_text="Networks such as 10.1.2.0/24, separated by commas: whoever sends from there is believed to be "
        "this participant, without a key. Only for an unmodified client of the first generation.",
    )
    wants_receipts = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Is it told of each delivery of its messages, by a message from Dmr?",
    )
    announcements = models.CharField(
        _("is told by messages from Dmr"),
        max_length=10,
        choices=Announcements.choices,
        default=Announcements.IMPORTANT,
        db_default=Announcements.NONE.value,  # those that were there before have not been asked
        help_text=_("Nothing: for an unmodified client of the first generation, which does not know such messages."),
    )
    messages_per_second = models.PositiveIntegerField(
        "messages a second", null=True, blank=True, help_text="That it may send; empty: as others, 0: no limit."
    )
    messages_burst = models.PositiveIntegerField(
        "messages at once",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="After a pause; empty: ten seconds' worth.",
    )
    stored_bytes_limit = models.PositiveBigIntegerField(
        "quota of stored payload (bytes)", null=True, blank=True, help_text="Empty: as others, 0: no limit."
    )
    # Of its EndpointTerms; 0: it is called like all others, so that deliveries need not look.
    terms_version = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    contact_name = models.CharField(max_length=100, blank=True, default="", db_default="")
    contact_email = models.EmailField("contact's e-mail", blank=True, default="", db_default="")
    technical_name = models.CharField("technical contact", max_length=100, blank=True, default="", db_default="")
    technical_email = models.EmailField("technical contact's e-mail", blank=True, default="", db_default="")
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True, editable=False)

    objects = ParticipantQuerySet.as_manager()

    class Meta:
        ordering = ("name",)
        permissions = (
            ("suspend_participant", "Can suspend and activate participants"),
            ("revoke_participant", "Can revoke and reinstate participants"),
            ("export_participant", "Can export participants, with their contacts"),
            ("import_participant", "Can import participants"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("name",), condition=Q(deleted_at=None), name="participant_name_is_unique"
            ),
        )
        indexes = (
            # directory.Directory.classifiers, and lists by type.
            models.Index(fields=("type", "status"), name="participant_type_status"),
            # life.lift_ended.
            models.Index(
                fields=("suspended_until",),
                condition=Q(suspended_until__isnull=False),
                name="participant_suspension_ends",
            ),
            # outages.keep_time, and ParticipantQuerySet.held.
            models.Index(fields=("held_until",), condition=Q(held_until__isnull=False), name="participant_held"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def is_reachable(self) -> bool:
        """Are messages to it tried now? Otherwise they are held (or, once it is deleted, dead letters)."""
        return self.status == self.Status.ACTIVE

    def is_held(self, now: datetime) -> bool:
        """Is it in an outage? Then what is addressed to it waits."""
        return self.held_from is not None and self.held_until is not None and self.held_from <= now < self.held_until

    @property
    def is_relay(self) -> bool:
        return self.name == names.RELAY


class ApiKey(models.Model):
    """A credential of a participant. Only its SHA-256 is kept: the key itself is random, and shown once."""

    participant = models.ForeignKey(Participant, on_delete=models.PROTECT, related_name="keys")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField("begins with", max_length=4, editable=False)
    note = models.CharField(max_length=100, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)
    last_used_from = models.CharField(max_length=100, blank=True, default="", db_default="", editable=False)
    scopes = models.CharField(
        _("only for"),
        max_length=100,
        blank=True,
        default="",
        db_default="",
        validators=[scopes.validate],
        help_text=_("What the key is for, separated by commas; empty: everything."),
    )
    # Of the rotation that made it: in whose place it is, and what the caller named the rotation.
    predecessor = models.ForeignKey(
        "self", null=True, on_delete=models.PROTECT, related_name="successors", editable=False
    )
    rotation = models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)
    # The last notice of its expiry, in days ahead; see key_notices.
    noticed_days = models.PositiveSmallIntegerField(null=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        ordering = ("-created_at",)
        permissions = (("revoke_apikey", "Can revoke API keys"),)
        indexes = (
            # key_notices: what expires soon, and the admin's list of it.
            models.Index(
                fields=("expires_at",),
                condition=Q(revoked_at=None, expires_at__isnull=False),
                name="api_key_expires",
            ),
        )

    def __str__(self) -> str:
        return gettext("%(hint)s… of %(participant)s") % {"hint": self.hint, "participant": self.participant}

    @property
    def is_valid(self) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())


class Room(models.Model):
    """A named message room. Members may address one another; its policy holds for what they say."""

    name = models.CharField(max_length=50, unique=True, validators=[names.validate_name])
    description = models.CharField(max_length=200, blank=True)
    payload_limit = models.PositiveIntegerField(
        "payload limit (bytes)",
        default=DEFAULT_PAYLOAD_LIMIT,
        validators=[MinValueValidator(1), MaxValueValidator(16 * MEBIBYTE)],
    )
    time_to_live = models.PositiveIntegerField(
        "time to live (s)",
        default=DEFAULT_TIME_TO_LIVE,
        validators=[MinValueValidator(1), MaxValueValidator(30 * DAY)],
        help_text="How long an undelivered message is tried; a sender may ask for less by the TTL header.",
    )
    retention = models.PositiveIntegerField(
        "retention (s)",
        default=DEFAULT_RETENTION,
        validators=[MaxValueValidator(365 * DAY)],
        help_text="How long a payload is kept after its last delivery has ended; 0: it is deleted at once.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    members: models.ManyToManyField[Participant, Membership] = models.ManyToManyField(
        Participant, through="Membership", related_name="rooms"
    )

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="memberships")
    participant = models.ForeignKey(Participant, on_delete=models.CASCADE, related_name="memberships")
    joined_at = models.DateTimeField(auto_now_add=True)
    may_speak = models.BooleanField(
        _("speaks"), default=True, db_default=True, help_text=_("May it write to the others here?")
    )
    listens = models.BooleanField(
        _("listens"), default=True, db_default=True, help_text=_("Does it get what the others write here?")
    )

    class Meta:
        constraints = (models.UniqueConstraint(fields=("room", "participant"), name="membership_is_unique"),)

    def __str__(self) -> str:
        return gettext("%(participant)s in %(room)s") % {"participant": self.participant, "room": self.room}


class RegistryVersion(models.Model):
    """One row that counts the registry's changes, so that a cache knows by one cheap query whether it is stale."""

    number = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.number)

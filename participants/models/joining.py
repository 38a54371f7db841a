"""How somebody joins: invited or by itself, an application, and the link by which an Instance fetches its key.

What changes these rows is in participants.invitations, participants.applications and participants.claims.
"""

from __future__ import annotations

import uuid

from django.conf import settings
from django.core.validators import MaxLengthValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext

from participants import names
from participants.models.registry import Participant

COMPONENTS = (
    "bot", "ruuter-public", "ruuter-private", "resql", "tim", "datamapper", "cronmanager", "s3-ferry", "anonymizer",
    "xtr", "postgresql", "opensearch", "vault", "rabbitmq", "valkey", "gui",
)  # fmt: skip


class Language(models.TextChoices):
    ESTONIAN = "et", "Eesti"
    ENGLISH = "en", "English"


class Invitation(models.Model):
    """A link, sent by mail, by which somebody applies once."""

    email = models.EmailField("e-mail")
    language = models.CharField(max_length=2, choices=Language.choices, default=Language.ESTONIAN)
    token_digest = models.CharField(max_length=64, unique=True, editable=False)
    invited_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    invited_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        permissions = (("revoke_invitation", "Can revoke invitations"),)

    def __str__(self) -> str:
        return gettext("invitation of %(email)s") % {"email": self.email}

    @property
    def is_open(self) -> bool:
        return self.used_at is None and self.revoked_at is None and self.expires_at > timezone.now()


class Application(models.Model):
    """Somebody asks to take part. Decided by a member of staff who had no hand in it."""

    class State(models.TextChoices):
        RECEIVED = "received"
        IN_REVIEW = "in review"
        APPROVED = "approved"
        REJECTED = "rejected"
        WITHDRAWN = "withdrawn"

    OPEN = (State.RECEIVED, State.IN_REVIEW)
    TYPES = ((Participant.Type.CHATBOT.value, "Chatbot"), (Participant.Type.CLASSIFIER.value, "Classifier"))

    public_id = models.UUIDField("id", default=uuid.uuid4, editable=False, unique=True)
    institution_name = models.CharField("institution", max_length=50, validators=[names.validate_institution])
    name = models.CharField("name in the network", max_length=50, validators=[names.validate_name])
    type = models.CharField(max_length=10, choices=TYPES, default=Participant.Type.CHATBOT)
    host = models.CharField("endpoint", max_length=100, validators=[names.validate_host])
    contact_name = models.CharField(max_length=100)
    contact_email = models.EmailField("contact's e-mail")
    technical_name = models.CharField("technical contact", max_length=100)
    technical_email = models.EmailField("technical contact's e-mail")
    components = models.JSONField("expected components", default=list, blank=True)
    remarks = models.TextField(blank=True, validators=[MaxLengthValidator(1000)])
    language = models.CharField(max_length=2, choices=Language.choices, default=Language.ESTONIAN)

    state = models.CharField(max_length=10, choices=State.choices, default=State.RECEIVED)
    reason = models.CharField(max_length=500, blank=True)
    received_at = models.DateTimeField(default=timezone.now)
    decided_at = models.DateTimeField("ended at", null=True)
    invitation = models.OneToOneField(Invitation, on_delete=models.PROTECT, null=True, related_name="application")
    # Who brought it in: the member of staff who typed it, or who invited. None: a stranger, by the public form.
    entered_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    reviewed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    participant = models.OneToOneField(Participant, on_delete=models.PROTECT, null=True, related_name="application")
    token_digest = models.CharField(max_length=64, unique=True, editable=False)  # of the link to its state

    class Meta:
        ordering = ("-id",)
        permissions = (
            ("review_application", "Can take applications into review"),
            ("decide_application", "Can approve and reject applications of others"),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(state__in=("received", "in review", "approved", "rejected", "withdrawn")),
                name="application_state_is_known",
            ),
            models.CheckConstraint(
                condition=Q(decided_by__isnull=True) | Q(entered_by__isnull=True) | ~Q(decided_by=F("entered_by")),
                name="nobody_decides_what_they_entered",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=("approved", "rejected")) | Q(decided_by__isnull=False),
                name="application_is_decided_by_somebody",
            ),
            models.CheckConstraint(
                condition=~Q(state="approved") | Q(participant__isnull=False),
                name="approved_application_has_its_participant",
            ),
            models.CheckConstraint(
                condition=~Q(state="rejected") | ~Q(reason=""), name="application_is_rejected_with_a_reason"
            ),
            models.CheckConstraint(
                condition=Q(state__in=("received", "in review"), decided_at=None)
                | Q(state__in=("approved", "rejected", "withdrawn"), decided_at__isnull=False),
                name="application_that_ended_has_a_time",
            ),
            models.UniqueConstraint(
                fields=("name",), condition=Q(state__in=("received", "in review")), name="one_open_application_a_name"
            ),
            models.UniqueConstraint(
                fields=("host",),
                condition=Q(state__in=("received", "in review")),
                name="one_open_application_an_endpoint",
            ),
        )
        indexes = (
            # The admin's list by state, and how many wait.
            models.Index(fields=("state", "received_at"), name="application_by_state"),
        )

    def __str__(self) -> str:
        return gettext("%(name)s of %(institution_name)s") % {
            "name": self.name,
            "institution_name": self.institution_name,
        }

    @property
    def is_open(self) -> bool:
        return self.state in self.OPEN


class Claim(models.Model):
    """A link by which an Instance's side fetches a key of its participant, once."""

    participant = models.ForeignKey(Participant, on_delete=models.PROTECT, related_name="claims")
    token_digest = models.CharField(max_length=64, unique=True, editable=False)
    language = models.CharField(max_length=2, choices=Language.choices, default=Language.ESTONIAN)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    claimed_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)  # a newer one took its place

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return gettext("claim of %(participant)s") % {"participant": self.participant}

    @property
    def is_open(self) -> bool:
        return (
            self.claimed_at is None
            and self.revoked_at is None
            and self.expires_at > timezone.now()
            and self.participant.deleted_at is None
        )

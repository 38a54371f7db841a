"""Releases, the keys of the people who sign them, and their signatures."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext

from updates.querysets import ReleaseQuerySet, StaffKeyQuerySet


class StaffKey(models.Model):
    """The public part of somebody's ed25519 key. The private one never leaves its owner's machine."""

    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="staff_keys")
    key_id = models.CharField("key id", max_length=64, unique=True, editable=False)  # hex SHA-256 of the raw key
    public_key = models.CharField(max_length=44, editable=False)  # base64 of the 32 raw bytes
    created_at = models.DateTimeField(auto_now_add=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = StaffKeyQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        permissions = (("withdraw_staffkey", "Can withdraw signing keys"),)

    def __str__(self) -> str:
        return gettext("%(key)s… of %(person)s") % {"key": self.key_id[:12], "person": self.person.get_username()}

    @property
    def is_valid(self) -> bool:
        return self.withdrawn_at is None


class Release(models.Model):
    """A version of the Bürokratt software: a signed manifest. What the manifest says never changes.

    The columns that repeat the manifest (version, sequence, severity, notes) are for lists and constraints;
    a trigger refuses to change any of them, whatever the release's state.
    """

    class State(models.TextChoices):
        DRAFT = "draft"
        APPROVED = "approved"
        PUBLISHED = "published"
        WITHDRAWN = "withdrawn"

    class Severity(models.TextChoices):
        OPTIONAL = "optional"
        MANDATORY = "mandatory"
        CRITICAL = "critical"

    public_id = models.UUIDField("id", default=uuid.uuid4, editable=False, unique=True)
    version = models.CharField(max_length=100, unique=True)
    sequence = models.PositiveBigIntegerField(unique=True)
    severity = models.CharField(max_length=10, choices=Severity.choices)
    notes_et = models.TextField("notes (Estonian)", blank=True)
    notes_en = models.TextField("notes (English)", blank=True)
    manifest = models.BinaryField()  # canonical JSON, RFC 8785: exactly what is signed
    digest = models.CharField("manifest digest", max_length=71, unique=True)  # sha256:… of the manifest
    state = models.CharField(max_length=10, choices=State.choices, default=State.DRAFT)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    approver = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    approved_at = models.DateTimeField(null=True)
    published_at = models.DateTimeField(null=True)
    withdrawn_at = models.DateTimeField(null=True)

    objects = ReleaseQuerySet.as_manager()

    class Meta:
        ordering = ("-sequence",)
        permissions = (
            ("approve_release", "Can approve releases of somebody else"),
            ("publish_release", "Can publish releases"),
            ("withdraw_release", "Can withdraw releases"),
        )
        constraints = (
            models.CheckConstraint(condition=Q(sequence__gt=0), name="release_sequence_is_positive"),
            models.CheckConstraint(
                condition=Q(state__in=("draft", "approved", "published", "withdrawn")),
                name="release_state_is_known",
            ),
            models.CheckConstraint(
                condition=Q(approver__isnull=True) | ~Q(approver=F("author")),
                name="nobody_approves_what_they_wrote",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=("approved", "published"))
                | Q(approver__isnull=False, approved_at__isnull=False),
                name="release_is_approved_by_somebody",
            ),
            models.CheckConstraint(
                condition=~Q(state="published") | Q(published_at__isnull=False), name="published_release_has_a_time"
            ),
        )

    def __str__(self) -> str:
        return self.version

    @property
    def canonical(self) -> bytes:
        """The manifest's bytes: PostgreSQL's driver may hand out a memoryview."""
        return bytes(self.manifest)

    @property
    def is_published(self) -> bool:
        return self.state == self.State.PUBLISHED


class Signature(models.Model):
    """Somebody's ed25519 signature of a release's canonical bytes."""

    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="signatures")
    key = models.ForeignKey(StaffKey, on_delete=models.PROTECT, related_name="signatures")
    signature = models.CharField(max_length=88)  # base64 of 64 bytes
    added_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("id",)
        constraints = (models.UniqueConstraint(fields=("release", "key"), name="one_signature_per_release_and_key"),)

    def __str__(self) -> str:
        return gettext("%(release)s by %(key)s") % {"release": self.release, "key": self.key}

    @property
    def shape(self) -> dict[str, str]:
        return {"keyId": self.key.key_id, "signature": self.signature}

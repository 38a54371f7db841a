"""The audit log: one append-only chain of everything that was done. participants.history writes it."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext

from participants.querysets import AppendOnly, ChangeQuerySet


class ActorKind(models.TextChoices):
    PERSON = "person"  # staff, by their user name
    KEY = "key"  # the staff key of the registry API
    PARTICIPANT = "participant"  # with its own key
    SYSTEM = "system"  # DMR by itself, or somebody at its command line
    UNKNOWN = "unknown"  # nobody was let in


class Change(models.Model):
    """Who did what, when, from where and why: written in the transaction of the change itself.

    Each entry's hash covers the entry and the hash of the one before (participants.chain), so that none can be
    altered, taken out, put in or moved unseen. The database itself refuses UPDATE and DELETE
    (participants.append_only). Columns have defaults in the database, so that the release before can write too: what
    it writes has no number until history.adopt().
    """

    number = models.BigIntegerField(null=True, unique=True, editable=False)
    at = models.DateTimeField(default=timezone.now, db_index=True)  # read by the admin's list and by exports
    actor_kind = models.CharField(
        max_length=12, choices=ActorKind.choices, default=ActorKind.PERSON, db_default=ActorKind.PERSON
    )
    actor = models.CharField(max_length=150, help_text="A person, a key, a participant, or the system.")
    address = models.CharField("from", max_length=100, blank=True, default="", db_default="")
    action = models.CharField(max_length=50)
    kind = models.CharField("object", max_length=50)
    subject = models.CharField("name", max_length=100)
    subject_id = models.CharField("id", max_length=40)
    # The id and not a key: an entry says what was, and follows nothing that is deleted or renamed later.
    institution = models.UUIDField("institution's id", null=True)
    institution_name = models.CharField("institution", max_length=50, blank=True, default="", db_default="")
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    reason = models.CharField(max_length=500, blank=True)
    previous_hash = models.CharField(max_length=64, default="", db_default="", editable=False)
    hash = models.CharField(max_length=64, default="", db_default="", editable=False)

    objects = ChangeQuerySet.as_manager()

    class Meta:
        verbose_name = "audit log entry"
        verbose_name_plural = "audit log"
        ordering = ("-number",)
        indexes = (
            # The history of one object, and the audit list filtered by one.
            models.Index(fields=("kind", "subject_id"), name="change_of_object"),
            # The audit list, filtered, newest first: by who, by what was done, by whose it is, by an object's name.
            models.Index(fields=("actor", "number"), name="change_by_actor"),
            # participants.listing: what changed participants since some entry.
            models.Index(fields=("kind", "number"), name="change_by_kind"),
            models.Index(fields=("action", "number"), name="change_by_action"),
            # And exports by institution.
            models.Index(fields=("institution", "number"), name="change_by_institution"),
            models.Index(fields=("subject", "number"), name="change_by_subject"),
        )

    def __str__(self) -> str:
        return gettext("%(action)s %(subject)s by %(actor)s") % {
            "action": gettext(self.action),
            "subject": self.subject,
            "actor": self.actor,
        }

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnly("An entry of the audit log never changes.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise AppendOnly("An entry of the audit log is never deleted; see manage.py audit archive.")


class ChainHead(models.Model):
    """One row: the newest entry. Locked while entries are appended, so that there is one chain."""

    number = models.BigIntegerField(default=0)
    hash = models.CharField(max_length=64)

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


class Archive(models.Model):
    """A file that the log's beginning was moved to; the chain goes on after `number`, whose hash is `hash`.

    The database lets go of entries up to the newest archive's number, and of no others.
    """

    number = models.BigIntegerField(unique=True)
    hash = models.CharField(max_length=64)
    at = models.DateTimeField(default=timezone.now)
    file_digest = models.CharField("SHA-256 of the file", max_length=64)

    class Meta:
        ordering = ("-number",)

    def __str__(self) -> str:
        return gettext("up to %(number)s") % {"number": self.number}

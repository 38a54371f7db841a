"""What Core has to tell participants, until the relay has made messages of it."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from participants.querysets import AnnouncementQuerySet


class Announcement(models.Model):
    """Written by participants.announcements alone, in the transaction of what it tells of; relay sends it."""

    class Kind(models.TextChoices):
        REGISTRATION = "registration", _("registration")
        PARTICIPANTS = "participants", _("participants changed")
        OUTAGE = "outage", _("outage")
        SOFTWARE_UPDATE = "software-update", _("software update")

    public_id = models.UUIDField("id", default=uuid.uuid4, editable=False, unique=True)
    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
    about = models.CharField(_("about"), max_length=100, blank=True)  # what is told of one thing arrives in order
    body = models.JSONField(_("what is said"))
    recipients = models.JSONField(null=True)  # keys of participants; None: all active ones
    created_at = models.DateTimeField(_("announced"))
    expires_at = models.DateTimeField(_("expires"))
    reached_id = models.BigIntegerField(default=0)  # the last participant that was come to
    told = models.PositiveIntegerField(_("told"), default=0)  # how many it was made a message for
    sent_at = models.DateTimeField(_("sent"), null=True)  # when all were come to

    objects = AnnouncementQuerySet.as_manager()

    class Meta:
        verbose_name = _("announcement")
        verbose_name_plural = _("announcements")
        ordering = ("-id",)
        constraints = (
            # news.participants_changed: of two that look at once, one announces.
            models.UniqueConstraint(
                fields=("about",), condition=Q(kind="participants"), name="participants_are_announced_once"
            ),
        )
        indexes = (
            # announcements.next_unsent.
            models.Index(fields=("id",), condition=Q(sent_at=None), name="announcement_unsent"),
            # announcements.forget.
            models.Index(fields=("sent_at",), condition=Q(sent_at__isnull=False), name="announcement_sent"),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.about}".strip()

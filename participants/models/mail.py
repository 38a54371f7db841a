"""Mails that are to be sent. participants.mail sends them."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext


class Mail(models.Model):
    """A mail, written in the transaction of what it tells of, and sent after that.

    Its text may hold a link that opens something: it is encrypted until the mail has left, and empty from then on.
    No key is ever in it.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        SENT = "sent"
        FAILED = "failed"  # nobody tries again by itself

    to = models.EmailField()
    subject = models.CharField(max_length=200)
    sealed_text = models.TextField(blank=True, editable=False)
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    created_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField("next attempt", default=timezone.now)
    attempts = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, editable=False)
    ended_at = models.DateTimeField("sent or given up", null=True)
    last_error = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("-id",)
        permissions = (("resend_mail", "Can try mails again"),)
        constraints = (
            models.CheckConstraint(condition=Q(state__in=("waiting", "sent", "failed")), name="mail_state_is_known"),
            models.CheckConstraint(
                condition=~Q(state="sent") | Q(sealed_text=""), name="mail_that_was_sent_holds_no_text"
            ),
        )
        indexes = (
            # mail.send: what is due.
            models.Index(fields=("due_at",), condition=Q(state="waiting"), name="mail_due"),
            # mail.forget: what ended long ago.
            models.Index(fields=("ended_at",), condition=Q(ended_at__isnull=False), name="mail_ended"),
        )

    def __str__(self) -> str:
        return gettext("%(subject)s to %(to)s") % {"subject": self.subject, "to": self.to}

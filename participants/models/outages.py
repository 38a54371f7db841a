"""Times in which participants are away, announced to the others. What changes these rows is participants.outages."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from participants.models.audit import ActorKind
from participants.models.registry import Institution, Participant
from participants.querysets import OutageQuerySet

LONGEST_TEXT = 255


class Outage(models.Model):
    """A window in which some participants, or all of an institution, are away: deliveries to them are held."""

    class Kind(models.TextChoices):
        PLANNED = "planned", _("planned")
        UNPLANNED = "unplanned", _("unplanned")

    class State(models.TextChoices):
        """Follows from the times and the clock, so that nothing has to switch it."""

        NEXT = "next", _("next")
        NOW = "now", _("now")
        OVER = "over", _("over")
        CANCELLED = "cancelled", _("cancelled")  # ended before it began

    public_id = models.UUIDField("id", default=uuid.uuid4, editable=False, unique=True)
    kind = models.CharField(_("kind"), max_length=9, choices=Kind.choices, default=Kind.PLANNED)
    begins_at = models.DateTimeField(_("begins"))
    # None: open, until somebody ends it.
    ends_at = models.DateTimeField(_("ends"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended"), null=True, editable=False)
    # All that it has, those that join it later too. None: the participants below.
    institution = models.ForeignKey(
        Institution,
        verbose_name=_("institution"),
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="outages",
        help_text=_("All its participants, also those that join it later."),
    )
    participants = models.ManyToManyField(Participant, verbose_name=_("participants"), related_name="outages")
    text_et = models.CharField(_("text in Estonian"), max_length=LONGEST_TEXT, blank=True)
    text_en = models.CharField(_("text in English"), max_length=LONGEST_TEXT, blank=True)
    # The participant that announced it for itself; None: staff did.
    owner = models.ForeignKey(
        Participant, on_delete=models.PROTECT, null=True, editable=False, related_name="own_outages"
    )
    announced_by = models.CharField(_("announced by"), max_length=150, editable=False)
    announced_by_kind = models.CharField(max_length=11, choices=ActorKind.choices, editable=False)
    announced_at = models.DateTimeField(_("announced at"), default=timezone.now, editable=False)

    objects = OutageQuerySet.as_manager()

    class Meta:
        verbose_name = _("outage")
        verbose_name_plural = _("outages")
        ordering = ("-begins_at", "-id")
        permissions = (("end_outage", "Can end outages"),)
        constraints = (
            models.CheckConstraint(
                condition=Q(ends_at=None) | Q(ends_at__gt=F("begins_at")), name="outage_ends_after_it_begins"
            ),
            models.CheckConstraint(
                condition=~Q(kind="planned") | Q(ends_at__isnull=False), name="planned_outage_has_an_end"
            ),
            # outages.announce: a repeat of a participant that says it is away finds what it said first.
            models.UniqueConstraint(
                fields=("owner",),
                condition=Q(ended_at=None, ends_at=None),
                name="one_open_outage_of_a_participant",
            ),
        )
        indexes = (
            # outages.keep_time, and what is now and next.
            models.Index(fields=("ends_at",), condition=Q(ended_at=None), name="outage_not_ended"),
            # The calendar: a month.
            models.Index(fields=("begins_at",), name="outage_begins"),
            # outages.announce: how many a participant announced of late.
            models.Index(fields=("owner", "announced_at"), name="outage_of_owner"),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {timezone.localtime(self.begins_at):%Y-%m-%d %H:%M}"

    @property
    def whose(self) -> str:
        """In a few words: the institution, or the first participants."""
        if self.institution is not None:
            return self.institution.name
        found = [each.name for each in self.participants.all()]
        return ", ".join(found[:3]) + (f" +{len(found) - 3}" if len(found) > 3 else "")

    @property
    def text(self) -> str:
        """In the language of the moment, or else in the other."""
        in_order = (self.text_et, self.text_en)
        return next(filter(None, in_order if get_language() == "et" else reversed(in_order)), "")

    @property
    def until(self) -> datetime | None:
        """When it is over; None: nobody knows."""
        return self.ended_at or self.ends_at

    def state(self, now: datetime) -> State:
        if self.ended_at is not None and self.ended_at <= self.begins_at:
            return self.State.CANCELLED
        if self.until is not None and self.until <= now:
            return self.State.OVER
        return self.State.NOW if self.begins_at <= now else self.State.NEXT


class CalendarFeed(models.Model):
    """An address by which a calendar program reads all outages: one of each participant and member of staff."""

    token_digest = models.CharField(max_length=64, unique=True, editable=False)
    participant = models.OneToOneField(Participant, on_delete=models.CASCADE, null=True, related_name="calendar_feed")
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="calendar_feed"
    )
    made_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(participant__isnull=True, user__isnull=False)
                | Q(participant__isnull=False, user__isnull=True),
                name="calendar_feed_is_of_one",
            ),
        )

    def __str__(self) -> str:
        return f"feed of {self.participant or self.user}"

"""A release on its way to Instances: rollout, waves, targets, and what was said of each target."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext

from participants.models import Institution, Participant
from updates.models.releases import Release
from updates.querysets import RolloutQuerySet, TargetQuerySet


class TargetState(models.TextChoices):
    WAITING = "waiting"  # its wave is not open, or it has not checked in since
    OFFERED = "offered"  # until `deadline`
    ACCEPTED = "accepted"  # by the agent; from here on the Instance changes
    INSTALLING = "installing"
    VERIFYING = "verifying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    TIMED_OUT = "timed_out"  # offered or under way, and nothing was heard until the deadline
    UNREACHABLE = "unreachable"  # did not check in while its wave was open
    SKIPPED = "skipped"  # not to be updated; `reason` says why


UNDER_WAY = (TargetState.ACCEPTED, TargetState.INSTALLING, TargetState.VERIFYING)
OPEN = (TargetState.WAITING, TargetState.OFFERED, *UNDER_WAY)
FAILURES = (TargetState.FAILED, TargetState.ROLLED_BACK, TargetState.TIMED_OUT)


class Rollout(models.Model):
    """A release on its way to a set of Instances that was fixed at the start."""

    class State(models.TextChoices):
        RUNNING = "running"
        PAUSED = "paused"
        ABORTED = "aborted"
        FINISHED = "finished"

    public_id = models.UUIDField("id", default=uuid.uuid4, editable=False, unique=True)
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="rollouts")
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    gate = models.FloatField(default=1.0, help_text="Share of a wave that must have succeeded, above 0, at most 1.")
    soak_seconds = models.PositiveIntegerField(default=3600, help_text="From the gate to the next wave.")
    max_failures = models.PositiveIntegerField(default=0, help_text="More than these pause the rollout.")
    in_outages = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Instances in an outage are not spared: they are offered the release, and their time runs.",
    )
    # What it was started for; the targets themselves are fixed then.
    institution = models.ForeignKey(Institution, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    participant_type = models.CharField(
        max_length=10, choices=Participant.Type.choices, default=Participant.Type.CHATBOT
    )
    from_version = models.CharField(max_length=100, blank=True, help_text="Only Instances that said they run this.")
    size = models.PositiveIntegerField()  # targets
    reason = models.CharField(max_length=500, blank=True)  # of the pause or the end
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    objects = RolloutQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        permissions = (("steer_rollout", "Can pause, resume and abort rollouts"),)
        constraints = (
            models.UniqueConstraint(
                fields=("release",),
                condition=Q(state__in=("running", "paused")),
                name="one_open_rollout_per_release",
            ),
            models.CheckConstraint(condition=Q(gate__gt=0, gate__lte=1), name="rollout_gate_is_a_share"),
            models.CheckConstraint(condition=Q(size__gt=0), name="rollout_has_targets"),
            models.CheckConstraint(
                condition=Q(state__in=("running", "paused", "aborted", "finished")), name="rollout_state_is_known"
            ),
        )
        indexes = (
            # scheduler.tick, and the gauges of rollouts by state.
            models.Index(fields=("state",), name="rollout_by_state"),
        )

    def __str__(self) -> str:
        return gettext("%(release)s since %(started_at)s") % {
            "release": self.release,
            "started_at": f"{timezone.localtime(self.started_at):%Y-%m-%d %H:%M}",
        }

    @property
    def soak(self) -> timedelta:
        return timedelta(seconds=self.soak_seconds)


class Wave(models.Model):
    """Some of a rollout's targets, which are offered the release together."""

    rollout = models.ForeignKey(Rollout, on_delete=models.CASCADE, related_name="waves")
    number = models.PositiveSmallIntegerField()
    share = models.PositiveSmallIntegerField("share (%)")  # of all targets, with the waves before it
    size = models.PositiveIntegerField()
    opened_at = models.DateTimeField(null=True)
    gate_met_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("rollout", "number")
        constraints = (
            models.UniqueConstraint(fields=("rollout", "number"), name="wave_number_is_unique"),
            models.CheckConstraint(condition=Q(share__gte=1, share__lte=100), name="wave_share_is_a_percentage"),
            models.CheckConstraint(
                condition=Q(gate_met_at__isnull=True) | Q(opened_at__isnull=False),
                name="only_an_open_wave_meets_its_gate",
            ),
        )

    def __str__(self) -> str:
        return gettext("wave %(number)s of %(rollout)s") % {"number": self.number, "rollout": self.rollout}


class Target(models.Model):
    """One Instance that is to get a rollout's release."""

    public_id = models.UUIDField("id", default=uuid.uuid4, editable=False, unique=True)  # `target` in the protocol
    rollout = models.ForeignKey(Rollout, on_delete=models.CASCADE, related_name="targets")
    wave = models.ForeignKey(Wave, on_delete=models.CASCADE, related_name="targets")
    participant = models.ForeignKey(Participant, on_delete=models.PROTECT, related_name="update_targets")
    state = models.CharField(max_length=12, choices=TargetState.choices, default=TargetState.WAITING)
    nonce = models.CharField(max_length=43, blank=True)  # of the offer that stands; reports must repeat it
    deadline = models.DateTimeField(null=True)  # of its state; None where it may last
    offered_at = models.DateTimeField(null=True)
    accepted_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=500, blank=True)
    excused_at = models.DateTimeField(null=True)  # staff resumed in spite of its failure
    contradicted_at = models.DateTimeField(null=True)  # something it said does not fit; see its events

    objects = TargetQuerySet.as_manager()

    class Meta:
        ordering = ("rollout", "wave", "id")
        constraints = (
            models.UniqueConstraint(fields=("rollout", "participant"), name="participant_is_a_target_once"),
            models.UniqueConstraint(
                fields=("participant",),
                condition=Q(state__in=("offered", "accepted", "installing", "verifying")),
                name="one_active_target_per_participant",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=("offered", "accepted", "installing", "verifying"))
                | (~Q(nonce="") & Q(deadline__isnull=False)),
                name="active_target_has_nonce_and_deadline",
            ),
        )
        indexes = (
            # TargetQuerySet.of_check_in: every check-in.
            models.Index(
                fields=("participant", "rollout"),
                condition=Q(state__in=("waiting", "offered", "unreachable", "succeeded")),
                name="target_of_check_in",
            ),
            # scheduler: deadlines that have passed.
            models.Index(fields=("deadline",), condition=Q(deadline__isnull=False), name="target_deadline"),
            # Counts per state, by tick and admin.
            models.Index(fields=("rollout", "wave", "state"), name="target_counts"),
        )

    def __str__(self) -> str:
        return gettext("%(participant)s in %(rollout)s") % {"participant": self.participant, "rollout": self.rollout}


class TargetEvent(models.Model):
    """A transition of a target, or something said of it that was not believed."""

    class Kind(models.TextChoices):
        TRANSITION = "transition"
        NOTE = "note"  # taken notice of; changes nothing
        CONTRADICTION = "contradiction"  # kept and raised, not believed

    target = models.ForeignKey(Target, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField()
    kind = models.CharField(max_length=13, choices=Kind.choices, default=Kind.TRANSITION)
    actor = models.CharField(max_length=150)  # agent, tick, or a person
    from_state = models.CharField(max_length=12, blank=True)
    to_state = models.CharField(max_length=12, blank=True)
    nonce = models.CharField(max_length=200, blank=True)
    detail = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ("id",)
        indexes = (
            # The admin's list of contradictions.
            models.Index(fields=("-id",), condition=Q(kind="contradiction"), name="event_contradictions"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.to_state}".strip()


class Report(models.Model):
    """What an agent said of a target, and what we answered: the same again gets the same answer."""

    target = models.ForeignKey(Target, on_delete=models.CASCADE, related_name="reports")
    nonce = models.CharField(max_length=200)
    sequence = models.PositiveBigIntegerField()
    state = models.CharField(max_length=12)
    detail = models.CharField(max_length=500, blank=True)
    steps = models.JSONField(default=list)
    digest = models.CharField(max_length=64)  # SHA-256 of state, detail and steps as they came
    answer = models.CharField(max_length=12, blank=True)  # the target's state; empty where it was refused
    refusal = models.CharField(max_length=500, blank=True)
    refusal_code = models.CharField(max_length=50, blank=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ("id",)
        constraints = (models.UniqueConstraint(fields=("target", "nonce", "sequence"), name="report_is_taken_once"),)

    def __str__(self) -> str:
        return gettext("%(state)s, sequence %(sequence)s") % {"state": self.state, "sequence": self.sequence}


class InstalledRelease(models.Model):
    """What an Instance last said it runs; written when that changes."""

    participant = models.OneToOneField(Participant, on_delete=models.CASCADE, related_name="installed_release")
    version = models.CharField(max_length=200, blank=True)  # as it says; empty: it does not know
    digest = models.CharField("manifest digest", max_length=200, blank=True)
    since = models.DateTimeField()

    class Meta:
        indexes = (
            # rollouts.start by version, and the gauges of Instances by version.
            models.Index(fields=("version",), name="installed_by_version"),
        )

    def __str__(self) -> str:
        return gettext("%(version)s at %(participant)s") % {
            "version": self.version or gettext("unknown"),
            "participant": self.participant,
        }

"""What is known of the Instances. What writes it: heartbeats.py and alerts.py."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from dmr_project.lib.sentences import shown
from observability.querysets import AlertQuerySet, InstanceQuerySet, VitalSignsQuerySet
from observability.states import Health, State, state_at
from participants.models import Participant

MOST_TEXT = 200  # characters of a name, version or digest that an agent sends


class Instance(Participant):
    """A participant as the fleet page shows it: a chatbot together with its stack."""

    objects = InstanceQuerySet.as_manager()  # type: ignore[misc]

    class Meta:
        proxy = True


class VitalSigns(models.Model):
    """The latest that an agent said of its Instance: one row a participant, overwritten by each check-in."""

    participant = models.OneToOneField(
        Participant, on_delete=models.CASCADE, primary_key=True, related_name="vital_signs"
    )
    last_heard_at = models.DateTimeField()  # the last check-in, repeats included
    told_at = models.DateTimeField()  # the last that brought facts
    sequence = models.BigIntegerField()
    agent_version = models.CharField(max_length=MOST_TEXT)
    release_version = models.CharField("version", max_length=MOST_TEXT, blank=True)
    manifest_digest = models.CharField(max_length=MOST_TEXT, blank=True)
    health = models.CharField(max_length=10, choices=Health.choices)
    uptime_seconds = models.BigIntegerField(null=True)
    load1 = models.FloatField("load (1 min)", null=True)
    memory_used_bytes = models.BigIntegerField(null=True)
    disk_free_bytes = models.BigIntegerField(null=True)
    inventory_digest = models.CharField(max_length=64)  # an unchanged list of components costs no query
    period = models.PositiveIntegerField("period (s)")  # when it was asked to come again
    late_at = models.DateTimeField()
    silent_at = models.DateTimeField()

    objects = VitalSignsQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "vital signs"
        constraints = (
            models.CheckConstraint(condition=Q(health__in=Health.values), name="vital_signs_health_is_known"),
        )
        indexes = (
            # alerts.evaluate: who is late.
            models.Index(fields=("late_at",), name="vital_signs_late"),
            # alerts.evaluate: who is unwell.
            models.Index(fields=("health",), condition=~Q(health="ok"), name="vital_signs_unwell"),
        )

    def __str__(self) -> str:
        return f"vital signs of {self.participant_id}"

    def state(self, now: datetime) -> State:
        return state_at(now, self.health, self.late_at, self.silent_at)


class Component(models.Model):
    """The latest of one component of an Instance's stack."""

    participant = models.ForeignKey(
        Participant,
        on_delete=models.CASCADE,
        related_name="components",
        db_index=False,  # the constraint has one
    )
    name = models.CharField(max_length=MOST_TEXT)
    version = models.CharField(max_length=MOST_TEXT, blank=True)
    digest = models.CharField(max_length=MOST_TEXT, blank=True)
    health = models.CharField(max_length=10, choices=Health.choices)
    since = models.DateTimeField()  # as it is now

    class Meta:
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("participant", "name"), name="component_is_unique_per_participant"),
        )

    def __str__(self) -> str:
        return self.name


class Contact(models.TextChoices):
    """Of an Instance, as alerts about its silence see it."""

    HEARD = "heard"
    LATE = "late"
    SILENT = "silent"


class StateChange(models.Model):
    """A change of an Instance's or a component's state or version. A check-in that says nothing new has none."""

    class Subject(models.TextChoices):
        HEALTH = "health"  # as its agent says
        CONTACT = "contact"  # heard, late, silent
        VERSION = "version"
        DIGEST = "digest"
        AGENT = "agent"  # the agent's own version

    participant = models.ForeignKey(
        Participant,
        on_delete=models.CASCADE,
        related_name="state_changes",
        db_index=False,  # the index below will do
    )
    component = models.CharField(max_length=MOST_TEXT, blank=True)  # empty: the Instance itself
    subject = models.CharField(max_length=10, choices=Subject.choices)
    before = models.CharField(max_length=MOST_TEXT, blank=True)
    after = models.CharField(max_length=MOST_TEXT, blank=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        indexes = (
            # The history on an Instance's page, newest first.
            models.Index(fields=("participant", "-id"), name="state_change_of_participant"),
        )

    def __str__(self) -> str:
        what = f"{self.component} {self.get_subject_display()}".strip()
        return f"{what}: {self.before_shown or '–'} → {self.after_shown or '–'}"

    @property
    def before_shown(self) -> str:
        return self._shown(self.before)

    @property
    def after_shown(self) -> str:
        return self._shown(self.after)

    def _shown(self, value: str) -> str:
        """A state by its label; versions and digests are what they are."""
        choices = {self.Subject.HEALTH: Health, self.Subject.CONTACT: Contact}.get(self.Subject(self.subject))
        return str(choices(value).label) if choices is not None and value in choices.values else value


class Alert(models.Model):
    """Something that staff should know of an Instance, from when to when."""

    class Kind(models.TextChoices):
        SILENCE = "silence", "Not heard of"
        HEALTH = "health", "Unwell, says its agent"
        QUOTA = "quota", "Stores too much"
        PARKED = "parked", _("Gone, says its endpoint")

    class Level(models.TextChoices):
        WARNING = "warning", "Warning"  # late; degraded; quota nearly reached
        CRITICAL = "critical", "Critical"  # silent; down; quota reached; parked

    kind = models.CharField(max_length=10, choices=Kind.choices)
    level = models.CharField(max_length=10, choices=Level.choices)
    participant = models.ForeignKey(Participant, on_delete=models.CASCADE, related_name="alerts")
    since = models.DateTimeField()
    recovered_at = models.DateTimeField(null=True)
    message = models.CharField(max_length=500)
    reason = models.CharField("closed because", max_length=100, blank=True)

    objects = AlertQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("participant", "kind"),
                condition=Q(recovered_at=None),
                name="one_open_alert_per_participant_and_kind",
            ),
        )
        indexes = (
            # collectors: open alerts by kind; alerts.evaluate: all open ones.
            models.Index(fields=("kind",), condition=Q(recovered_at=None), name="alert_open"),
        )

    def __str__(self) -> str:
        return shown(self.message)

    @property
    def is_open(self) -> bool:
        return self.recovered_at is None


class AlertChange(models.Model):
    """An alert opened, grew worse, eased or closed: told by mail once. Rows not told yet are the outbox."""

    class Step(models.TextChoices):
        OPENED = "opened", "New"
        WORSENED = "worsened", "Worse"
        EASED = "eased", "Better"
        RECOVERED = "recovered", "Recovered"
        DROPPED = "dropped", "Closed"  # not watched any more

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="changes")
    step = models.CharField(max_length=10, choices=Step.choices)
    message = models.CharField(max_length=500)
    at = models.DateTimeField()
    notified_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)  # held by whoever is sending it

    class Meta:
        ordering = ("id",)
        indexes = (
            # notices.send: what nobody was told yet.
            models.Index(fields=("id",), condition=Q(notified_at=None), name="alert_change_untold"),
        )

    def __str__(self) -> str:
        return f"{self.get_step_display()}: {shown(self.message)}"


class Watch(models.Model):
    """One row: when alerts were last evaluated. Locking it lets one evaluation run at a time."""

    evaluated_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"evaluated at {self.evaluated_at}"

"""Questions over many rows of the registry."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

if TYPE_CHECKING:
    from participants.models import (  # noqa: F401
        Announcement,
        ApiKey,
        Change,
        Institution,
        Outage,
        Participant,
        PublicKey,
    )
    from participants.models.signing import SigningKey  # noqa: F401


class InstitutionQuerySet(models.QuerySet["Institution"]):
    def present(self) -> InstitutionQuerySet:
        """All that are not deleted."""
        return self.filter(deleted_at=None)


class ParticipantQuerySet(models.QuerySet["Participant"]):
    def present(self) -> ParticipantQuerySet:
        """All that are not deleted."""
        return self.filter(deleted_at=None)

    def active(self) -> ParticipantQuerySet:
        return self.present().filter(status="Active")

    def known(self) -> ParticipantQuerySet:
        """Those that others may write to, now or later; statuses.UNKNOWN has the others."""
        return self.present().exclude(status__in=("Pending", "Revoked"))

    def held(self, now: datetime, linger: timedelta = timedelta(0)) -> ParticipantQuerySet:
        """Those in an outage, or out of one for less than `linger`."""
        return self.filter(held_from__lte=now, held_until__gt=now - linger)


class OutageQuerySet(models.QuerySet["Outage"]):
    def not_over(self, now: datetime) -> OutageQuerySet:
        """Those that are now or next."""
        return self.filter(Q(ends_at=None) | Q(ends_at__gt=now), ended_at=None)

    def now(self, now: datetime) -> OutageQuerySet:
        return self.not_over(now).filter(begins_at__lte=now)

    def ended_after(self, since: datetime) -> OutageQuerySet:
        """Those that were not over at that time, those cancelled since then too."""
        rows: OutageQuerySet = self.annotate(over_at=Coalesce("ended_at", "ends_at"))
        return rows.filter(Q(over_at__gt=since) | Q(over_at=None))

    def within(self, begin: datetime, end: datetime) -> OutageQuerySet:
        """Those with a moment in that time, but for those cancelled, the earliest first."""
        rows = self.exclude(ended_at__isnull=False, ended_at__lte=F("begins_at")).filter(begins_at__lt=end)
        return rows.ended_after(begin).order_by("begins_at", "id")

    def affecting(self, name: str) -> OutageQuerySet:
        """Those of the participant of that name, or of its institution."""
        links = self.model.participants.through.objects.filter(participant__name=name, participant__deleted_at=None)
        own = Q(pk__in=links.values("outage_id"))
        return self.filter(
            own | Q(institution__participants__name=name, institution__participants__deleted_at=None)
        ).distinct()


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def valid(self) -> ApiKeyQuerySet:
        now = timezone.now()
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)

    def expiring(self, now: datetime, within: timedelta) -> ApiKeyQuerySet:
        """Valid ones of present participants that will not be for long."""
        soon = self.filter(expires_at__gt=now, expires_at__lte=now + within)
        return soon.filter(revoked_at=None, participant__deleted_at=None)


class AnnouncementQuerySet(models.QuerySet["Announcement"]):
    def unsent(self) -> AnnouncementQuerySet:
        """The oldest first."""
        return self.filter(sent_at=None).order_by("id")


class PublicKeyQuerySet(models.QuerySet["PublicKey"]):
    def valid(self, now: datetime) -> PublicKeyQuerySet:
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)


class SigningKeyQuerySet(models.QuerySet["SigningKey"]):
    def published(self, now: datetime) -> SigningKeyQuerySet:
        """Those that everybody is to accept, the newest first."""
        kept = Q(published_until=None) | Q(published_until__gt=now)
        return self.filter(kept, revoked_at=None).order_by("-number")

    def that_sign(self, now: datetime) -> SigningKeyQuerySet:
        """Those that sign now or will, the newest first."""
        return self.filter(Q(signs_until=None) | Q(signs_until__gt=now), revoked_at=None).order_by("-number")


class AppendOnly(Exception):
    """Code tried to alter the audit log."""


class ChangeQuerySet(models.QuerySet["Change"]):
    def chained(self) -> ChangeQuerySet:
        """In the chain's order; without what the release before wrote and nobody has adopted yet."""
        return self.filter(number__isnull=False).order_by("number")

    def about(self, row: models.Model) -> ChangeQuerySet:
        """The history of one object."""
        subject_id = str(getattr(row, "public_id", None) or row.pk)
        return self.filter(kind=row._meta.model_name or "", subject_id=subject_id)

    def adopted(self, change: Change) -> None:
        """Writes number and hashes of an entry that had none, the one change that the database lets through."""
        rows = self.filter(pk=change.pk, number=None)
        models.QuerySet.update(rows, number=change.number, previous_hash=change.previous_hash, hash=change.hash)

    def archived(self, number: int) -> int:
        """Lets go of entries up to `number`, which an Archive must stand for. Returns how many."""
        return self.filter(number__lte=number)._raw_delete(self.db)

    def update(self, **kwargs: Any) -> NoReturn:
        raise AppendOnly("Entries of the audit log never change.")

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnly("Entries of the audit log never change.")

    def delete(self) -> NoReturn:
        raise AppendOnly("Entries of the audit log are never deleted; see manage.py audit archive.")

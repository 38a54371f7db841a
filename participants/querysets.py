"""Questions over many rows of the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from django.db import models
from django.db.models import Q
from django.utils import timezone

if TYPE_CHECKING:
    from participants.models import Announcement, ApiKey, Change, Institution, Participant  # noqa: F401


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


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def valid(self) -> ApiKeyQuerySet:
        now = timezone.now()
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)


class AnnouncementQuerySet(models.QuerySet["Announcement"]):
    def unsent(self) -> AnnouncementQuerySet:
        """The oldest first."""
        return self.filter(sent_at=None).order_by("id")


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

"""Questions over many rows of the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q
from django.utils import timezone

if TYPE_CHECKING:
    from participants.models import ApiKey, Institution, Participant  # noqa: F401


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


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def valid(self) -> ApiKeyQuerySet:
        now = timezone.now()
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)

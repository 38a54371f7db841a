"""Who waits with a key that has become void: told from the registry's version, so that it costs a query only after a
change, one for keys that have not been looked at yet, and one for each that expires.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.utils import timezone

from participants import directory
from participants.models import ApiKey


class Watch:
    """Of one process; asked by one thread at a time."""

    def __init__(self) -> None:
        self._version = -1
        self._good: dict[int, datetime | None] = {}  # at that version, with when they expire

    def holders(self, key_ids: Collection[int]) -> set[int]:
        """The participants of those of the keys that were revoked, or have expired."""
        version = directory.registry_version() if key_ids else self._version
        if version != self._version:
            self._version, self._good = version, {}
        now = timezone.now()
        self._good = {
            key: expires_at
            for key, expires_at in self._good.items()
            if key in key_ids and (expires_at is None or expires_at > now)
        }
        unknown = set(key_ids) - self._good.keys()
        if not unknown:
            return set()
        good = dict(ApiKey.objects.valid().filter(pk__in=unknown).values_list("pk", "expires_at"))
        self._good |= good
        void = unknown - good.keys()
        return set(ApiKey.objects.filter(pk__in=void).values_list("participant_id", flat=True))

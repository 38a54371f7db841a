"""Who waits with a key that has become void: told from the registry's version, so that it costs a query only after a
change, and one for keys that have not been looked at yet.
"""

from __future__ import annotations

from collections.abc import Collection

from participants import directory
from participants.models import ApiKey


class Watch:
    """Of one process; asked by one thread at a time."""

    def __init__(self) -> None:
        self._version = -1
        self._good: set[int] = set()  # at that version

    def holders(self, key_ids: Collection[int]) -> set[int]:
        """The participants of those of the keys that were revoked, or have expired."""
        version = directory.registry_version() if key_ids else self._version
        if version != self._version:
            self._version, self._good = version, set()
        self._good &= set(key_ids)
        unknown = set(key_ids) - self._good
        if not unknown:
            return set()
        good = set(ApiKey.objects.valid().filter(pk__in=unknown).values_list("pk", flat=True))
        self._good |= good
        return set(ApiKey.objects.filter(pk__in=unknown - good).values_list("participant_id", flat=True))

"""Who changed what: a Change for each, written in the same transaction, and the registry's version with it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import connection, models
from django.db.models import F

from participants.models import Change, RegistryVersion

SYSTEM = "system"
_HIDDEN = frozenset({"id", "created_at", "digest", "last_used_at"})


def facts(row: models.Model) -> dict[str, Any]:
    """The row's fields as JSON holds them, without secrets."""
    said: dict[str, Any] = {}
    for field in row._meta.concrete_fields:
        if field.name in _HIDDEN:
            continue
        value = field.value_from_object(row)
        said[field.name] = value if isinstance(value, (str, int, float, bool, type(None), list, dict)) else str(value)
    return said


def record(
    action: str,
    row: models.Model,
    actor: str,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
) -> None:
    """Writes the Change (only what differs) and counts the registry's version up, in the change's transaction."""
    before, after = before or {}, after or {}
    if before and after:
        differing = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        before = {name: value for name, value in before.items() if name in differing}
        after = {name: value for name, value in after.items() if name in differing}
    public_id: UUID | None = getattr(row, "public_id", None)
    Change.objects.create(
        actor=actor[:150],
        action=action,
        kind=row._meta.model_name or "",
        subject=str(row)[:100],
        subject_id=str(public_id or row.pk),
        before=before,
        after=after,
        reason=reason[:500],
    )
    advance_version()


def advance_version() -> None:
    """Makes every process look afresh at its next request."""
    if not RegistryVersion.objects.filter(pk=1).update(number=F("number") + 1):
        RegistryVersion.objects.create(pk=1, number=1)
    assert connection.in_atomic_block, "a change and its history belong in one transaction"

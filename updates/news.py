"""What participants are told of releases and rollouts; by severity, so that their side knows what it may put off."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from participants import announcements
from participants.announcements import Kind
from participants.models import Participant
from updates.models import Release, Rollout


def published(release: Release) -> None:
    """To all: there is a release. Call it in the transaction that publishes it."""
    announcements.announce(Kind.SOFTWARE_UPDATE, about=release.version, body=_said("published", release))


def rollout_started(rollout: Rollout, members: Iterable[Participant]) -> None:
    """To those whom it is on its way to. Call it in the transaction that starts it."""
    body = {**_said("rollout-started", rollout.release), "rollout": str(rollout.public_id)}
    announcements.announce(Kind.SOFTWARE_UPDATE, about=rollout.release.version, body=body, to=members)


def _said(step: str, release: Release) -> dict[str, Any]:
    return {
        "event": step,
        "version": release.version,
        "severity": release.severity,
        "notes": {"et": release.notes_et, "en": release.notes_en},
    }

"""What an agent is answered at check-in: an offer or nothing, and when to come again.

The shape of an offer: docs/protocol.md.
"""

from __future__ import annotations

import base64
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from datetime import timezone as utc
from enum import Enum
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from dmr_project.lib.sentences import Sentence
from participants.models import Participant
from updates import manifest, rollouts, sparing, targets
from updates.models import InstalledRelease, Release, Rollout, Signature, Target, TargetEvent, TargetState
from updates.models.rollouts import OPEN

# -- when an agent is to come again, in seconds --
PERIOD: int = settings.CHECK_IN_SECONDS
QUICK_PERIOD = 5  # while it has something to do in a rollout that runs
MOST_QUICK = 100  # check-ins a second from one rollout's targets; a large rollout's come less quickly
JITTER = 0.2  # of the pause, to either side

MOST_TEXT = 200

_ANOTHER = Sentence("%(release)s succeeded here, and now it says that it runs %(version)s")
_UNKNOWN = Sentence("%(release)s succeeded here, and now it says that it runs an unknown version")


@dataclass(frozen=True)
class Offer:
    """A release, offered to one Instance until a deadline."""

    target: str  # UUID
    version: str
    severity: str
    manifest: bytes  # canonical JSON: exactly what was signed
    signatures: list[dict[str, str]]  # {"keyId", "signature"}
    deadline: datetime
    nonce: str

    def shape(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "target": self.target,
            "version": self.version,
            "severity": self.severity,
            "manifest": base64.b64encode(self.manifest).decode("ascii"),
            "signatures": self.signatures,
            "deadline": self.deadline.astimezone(utc.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "nonce": self.nonce,
        }


class Fit(Enum):
    """How a release stands to what an Instance says it runs."""

    NEEDED = "needed"
    SAME = "same"
    NEWER = "newer"
    TOO_OLD = "too old"


_NOT_NEEDED = {
    Fit.SAME: Sentence("it runs this release already (%(version)s)"),
    Fit.NEWER: Sentence("it runs a newer version (%(version)s)"),
    Fit.TOO_OLD: Sentence("it runs a version older than the release can be installed on (%(version)s)"),
}


def fit(installed_version: str, digest: str, release: Release, min_version: str | None) -> Fit:
    """Pure. What is not known, or is no semantic version, holds nothing back: the agent looks again by itself."""
    if digest == release.digest:
        return Fit.SAME
    if not manifest.is_version(installed_version):
        return Fit.NEEDED
    installed = manifest.version_key(installed_version)
    if installed > manifest.version_key(release.version):
        return Fit.NEWER
    if min_version is not None and installed < manifest.version_key(min_version):
        return Fit.TOO_OLD
    return Fit.NEEDED


def check_in(
    participant_id: int, installed_version: str | None, manifest_digest: str | None, *, may_install: bool = True
) -> Offer | None:
    """Notes what the Instance runs, and offers what it is to install.

    The same offer as before while that stands. None where there is nothing for it, or something is under way, or
    the caller's key is not for updates (`may_install`).
    """
    version, digest = (installed_version or "")[:MOST_TEXT], (manifest_digest or "")[:MOST_TEXT]
    _note_installed(participant_id, version, digest)
    for target in Target.objects.of_check_in(participant_id):
        if target.state == TargetState.SUCCEEDED:
            _compare(target, version, digest)
            continue
        offer = _offer(target, version, digest) if may_install else None
        if offer is not None:
            return offer
    return None


def next_check_in_seconds(participant_id: int, chance: Callable[[], float] = random.random) -> int:
    """When the agent is to come again, in seconds."""
    sizes = (
        Target.objects.filter(participant_id=participant_id, state__in=OPEN)
        .filter(rollout__state__in=(Rollout.State.RUNNING, Rollout.State.PAUSED))
        .exclude(rollout__state=Rollout.State.PAUSED, state__in=(TargetState.WAITING, TargetState.OFFERED))
        .values_list("rollout__size", flat=True)
    )
    return pause_for(list(sizes), chance)


def pause_for(sizes: list[int], chance: Callable[[], float]) -> int:
    """Pure. `sizes`: of the rollouts that make it hurry."""
    pause: float = PERIOD
    if sizes:
        pause = min(PERIOD, max(QUICK_PERIOD, max(sizes) / MOST_QUICK))
    return max(1, round(pause * (1 - JITTER + 2 * JITTER * chance())))


def _note_installed(participant_id: int, version: str, digest: str) -> None:
    known = InstalledRelease.objects.filter(participant_id=participant_id).values_list("version", "digest").first()
    if known != (version, digest):
        InstalledRelease.objects.update_or_create(
            participant_id=participant_id, defaults={"version": version, "digest": digest, "since": timezone.now()}
        )


def _compare(target: Target, version: str, digest: str) -> None:
    """It reported success: does it still say that it runs this release, or one after it?"""
    release = target.rollout.release
    if target.contradicted_at is not None or fit(version, digest, release, None) in (Fit.SAME, Fit.NEWER):
        return
    with transaction.atomic():
        targets.remark(
            target,
            TargetEvent.Kind.CONTRADICTION,
            now=timezone.now(),
            detail=_ANOTHER(release=release, version=version) if version else _UNKNOWN(release=release),
        )


def _offer(target: Target, version: str, digest: str) -> Offer | None:
    now = timezone.now()
    if sparing.is_spared(target, now):
        return None
    if target.state == TargetState.OFFERED:
        return _shape(target) if target.deadline is not None and target.deadline > now else None
    with transaction.atomic():
        # Whoever grants holds the rollout: a pause comes wholly before, and is seen, or wholly after.
        if rollouts.locked(target.rollout).state != Rollout.State.RUNNING:
            return None
        if not Participant.objects.known().exclude(status="Suspended").filter(pk=target.participant_id).exists():
            return None
        found = fit(version, digest, target.rollout.release, _min_version(target.rollout.release))
        if found is Fit.NEEDED:
            return _grant(target, now)
        state = TargetState.SUCCEEDED if found is Fit.SAME else TargetState.SKIPPED
        targets.move(target, state, now=now, actor=targets.AGENT, reason=_NOT_NEEDED[found](version=version))
        return None


def _grant(target: Target, now: datetime) -> Offer | None:
    nonce = secrets.token_urlsafe(24)
    if Target.objects.under_way().filter(participant_id=target.participant_id).exists():
        return None
    try:
        with transaction.atomic():
            if not targets.move(target, TargetState.OFFERED, now=now, actor=targets.AGENT, nonce=nonce):
                target.refresh_from_db(fields=["state", "nonce", "deadline"])
    except IntegrityError:
        return None  # another rollout's offer to it stands: one at a time
    return _shape(target) if target.state == TargetState.OFFERED else None


def _shape(target: Target) -> Offer:
    assert target.deadline is not None
    release = target.rollout.release
    rows = Signature.objects.filter(release=release, key__withdrawn_at=None).select_related("key")
    return Offer(
        target=str(target.public_id),
        version=release.version,
        severity=release.severity,
        manifest=release.canonical,
        signatures=[row.shape for row in rows],
        deadline=target.deadline,
        nonce=target.nonce,
    )


def _min_version(release: Release) -> str | None:
    return manifest.parse(release.canonical).min_version

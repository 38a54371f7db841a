"""Releases, and how they reach Instances. What changes these rows is in the capability modules beside."""

from updates.models.releases import Release, Signature, StaffKey
from updates.models.rollouts import (
    InstalledRelease,
    Report,
    Rollout,
    Target,
    TargetEvent,
    TargetState,
    Wave,
)

__all__ = [
    "InstalledRelease",
    "Release",
    "Report",
    "Rollout",
    "Signature",
    "StaffKey",
    "Target",
    "TargetEvent",
    "TargetState",
    "Wave",
]

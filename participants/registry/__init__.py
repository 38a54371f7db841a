"""The registry's capabilities. Each is one transaction, leaves a Change, and counts for the very next request."""

from participants.registry.api_keys import issue_key, revoke_key
from participants.registry.changes import WrongStatus, change_participant, update, update_all
from participants.registry.enrolment import enrol, enrol_all, register
from participants.registry.own import (
    NotLetIn,
    SuspendedByStaff,
    own_row,
    set_own_announcements,
    set_own_delivery_mode,
    set_own_status,
)
from participants.registry.own_entries import ensure_own_entries
from participants.registry.removal import (
    StillInUse,
    remove_institution,
    remove_participant,
    remove_unused_participant,
)
from participants.registry.rows import NameTaken, add, check
from participants.registry.steps import move, set_announcements, set_status, set_success_statuses

__all__ = [
    "NameTaken",
    "NotLetIn",
    "StillInUse",
    "SuspendedByStaff",
    "WrongStatus",
    "add",
    "change_participant",
    "check",
    "enrol",
    "enrol_all",
    "ensure_own_entries",
    "issue_key",
    "move",
    "own_row",
    "register",
    "remove_institution",
    "remove_participant",
    "remove_unused_participant",
    "revoke_key",
    "set_announcements",
    "set_own_announcements",
    "set_own_delivery_mode",
    "set_own_status",
    "set_status",
    "set_success_statuses",
    "update",
    "update_all",
]

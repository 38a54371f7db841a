"""The registry's rows, and the audit log of what was done with them."""

from participants.models.audit import ActorKind, Archive, ChainHead, Change
from participants.models.registry import (
    DAY,
    DEFAULT_PAYLOAD_LIMIT,
    DEFAULT_RETENTION,
    DEFAULT_TIME_TO_LIVE,
    MEBIBYTE,
    ApiKey,
    Institution,
    Membership,
    Participant,
    RegistryVersion,
    Room,
)
from participants.models.terms import EndpointTerms

__all__ = [
    "DAY",
    "DEFAULT_PAYLOAD_LIMIT",
    "DEFAULT_RETENTION",
    "DEFAULT_TIME_TO_LIVE",
    "MEBIBYTE",
    "ActorKind",
    "ApiKey",
    "Archive",
    "ChainHead",
    "Change",
    "EndpointTerms",
    "Institution",
    "Membership",
    "Participant",
    "RegistryVersion",
    "Room",
]

"""The registry's rows, how somebody comes into it, and the audit log of what was done with them."""

from participants.models.announcements import Announcement
from participants.models.audit import ActorKind, Archive, ChainHead, Change
from participants.models.joining import COMPONENTS, Application, Claim, Invitation, Language
from participants.models.mail import Mail
from participants.models.outages import CalendarFeed, Outage
from participants.models.public_keys import PublicKey
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
from participants.models.signing import ListKey, SigningKey
from participants.models.terms import EndpointTerms

__all__ = [
    "COMPONENTS",
    "DAY",
    "DEFAULT_PAYLOAD_LIMIT",
    "DEFAULT_RETENTION",
    "DEFAULT_TIME_TO_LIVE",
    "MEBIBYTE",
    "ActorKind",
    "Announcement",
    "ApiKey",
    "Application",
    "Archive",
    "CalendarFeed",
    "ChainHead",
    "Change",
    "Claim",
    "EndpointTerms",
    "Institution",
    "Invitation",
    "Language",
    "ListKey",
    "Mail",
    "Membership",
    "Outage",
    "Participant",
    "PublicKey",
    "RegistryVersion",
    "Room",
    "SigningKey",
]

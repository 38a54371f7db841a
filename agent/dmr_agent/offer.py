"""An offer from the server, and the decision whether to take it. Trust is in two people's keys only.

{"target", "version", "severity", "manifest": <base64>, "signatures": [{"keyId", "signature"}],
     "deadline", "nonce"}
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from dmr_agent.config import Config
from dmr_agent.errors import AgentError
from dmr_agent.journal import Journal
from dmr_agent.manifest import Manifest, ManifestInvalid, parse_canonical, version_key
from dmr_agent.signatures import signers

MAX_TEXT = 200


class OfferMalformed(AgentError):
    """Not even the target and the nonce can be read, so there is nothing to answer to."""


class OfferRefused(AgentError):
    """The offer is not carried out; the text says why."""


@dataclass(frozen=True)
class Offer:
    target: str | int
    nonce: str
    content: dict[str, Any]

    @property
    def deadline(self) -> str:
        return str(self.content.get("deadline"))


def read(value: Any) -> Offer:
    """Raises OfferMalformed."""
    if not isinstance(value, dict):
        raise OfferMalformed("the offer is no object")
    target, nonce = value.get("target"), value.get("nonce")
    if type(target) is not int and not (isinstance(target, str) and 0 < len(target) <= MAX_TEXT):
        raise OfferMalformed("the offer has no target")
    if not isinstance(nonce, str) or not 0 < len(nonce) <= MAX_TEXT:
        raise OfferMalformed("the offer has no nonce")
    return Offer(target, nonce, value)


def verify(offer: Offer, settings: Config, journal: Journal, now: datetime) -> Manifest:
    """The manifest to install. Raises OfferRefused, naming the first thing that is wrong."""
    content = _manifest_bytes(offer)
    # Signatures first: bytes that nobody vouches for aren't worth a parser's risk.
    listed = offer.content.get("signatures")
    valid = signers(content, listed if isinstance(listed, list) else [], settings.trusted_keys)
    if len(valid) < settings.threshold:
        raise OfferRefused(f"{len(valid)} different trusted keys signed it, {settings.threshold} must")
    try:
        manifest = parse_canonical(content)
    except ManifestInvalid as error:
        raise OfferRefused(str(error)) from error
    if offer.content.get("version") != manifest.version:
        raise OfferRefused("the offer's version is not the manifest's")
    if offer.content.get("severity") not in (None, manifest.content["severity"]):
        raise OfferRefused("the offer's severity is not the manifest's")
    if is_past(offer.deadline, now):
        raise OfferRefused(f"the deadline {offer.deadline} has passed")
    _check_upward(manifest, journal)
    return manifest


def is_past(deadline: str, now: datetime) -> bool:
    """`deadline`: ISO 8601 with Z or an offset. Raises OfferRefused for anything else."""
    try:
        # Python 3.10 reads neither Z nor fractions of other than 3 or 6 digits.
        text, dot, rest = deadline.replace("Z", "+00:00").partition(".")
        if dot:
            digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
            text += "." + digits[:6].ljust(6, "0") + rest[len(digits) :]
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("no offset")
        return moment <= now
    except (ValueError, OverflowError) as error:
        raise OfferRefused("the deadline is no time in UTC") from error


def now() -> datetime:
    return datetime.now(timezone.utc)


def _manifest_bytes(offer: Offer) -> bytes:
    encoded = offer.content.get("manifest")
    try:
        return base64.b64decode(encoded, validate=True) if isinstance(encoded, str) else b""
    except ValueError as error:
        raise OfferRefused("the manifest is not base64") from error


def _check_upward(manifest: Manifest, journal: Journal) -> None:
    if journal.installed and journal.installed.manifest.digest == manifest.digest:
        return  # the very same release again: a repair, or only to be verified
    if manifest.sequence <= journal.highest:
        raise OfferRefused(f"a downgrade: its sequence is {manifest.sequence}, {journal.highest} was installed")
    if journal.installed and journal.installed.intact and manifest.min_version is not None:
        version = journal.installed.manifest.version
        if version_key(version) < version_key(manifest.min_version):
            raise OfferRefused(f"it needs {manifest.min_version}, and {version} is installed")

"""The headers of a message: read and validated, each error naming its header. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from dmr_project.lib.errors import InvalidInput

DEFAULT_CONTENT_TYPE = "text/plain"
LONGEST = 255  # characters of a header that we carry

UUID_PATTERN = r"\{?([0-9a-fA-F]{8})-?([0-9a-fA-F]{4})-?([0-9a-fA-F]{4})-?([0-9a-fA-F]{4})-?([0-9a-fA-F]{12})\}?"
_UUID = re.compile(UUID_PATTERN)
_PRINTABLE = re.compile(r"[\x20-\x7e]*")


class InvalidHeader(InvalidInput):
    code = "invalid-header"
    title = "A header is missing or cannot be used"


@dataclass(frozen=True)
class Envelope:
    """The routing headers of one message."""

    message_id: UUID
    written_id: str
    sent_by: str
    send_to: str
    written_ref: str  # empty where there is none
    model_type: str  # empty where there is none
    content_type: str
    time_to_live: int | None  # seconds, as the sender asks
    conversation: str = ""  # within which deliveries keep their order; empty where there is none

    def digest(self, payload: bytes) -> str:
        """Hex SHA-256 of what makes a repeat the same message: recipient, reference, types, payload."""
        ref = parse_uuid(self.written_ref)
        parts = (self.send_to, str(ref or self.written_ref), self.model_type, self.content_type)
        sha = hashlib.sha256("\x00".join(parts).encode())
        sha.update(b"\x00")
        sha.update(payload)
        return sha.hexdigest()


def parse_uuid(text: str) -> UUID | None:
    """A UUID in hexadecimal, with or without hyphens and braces, in any case; None where it is none."""
    match = _UUID.fullmatch(text)
    return UUID("".join(match.groups())) if match else None


def named(errors: list[dict[str, str]]) -> set[str]:
    """The headers that are named already: one error each is enough."""
    return {error["header"] for error in errors}


def read(headers: Mapping[str, str], given: Mapping[str, str] | None = None) -> Envelope:
    """The envelope in HTTP headers (WSGI names). Raises InvalidHeader, which names every bad header.

    `given` are values that the address or the caller stands for (`{"X-Send-To": "police"}`): a header of that
    name may be left out, and must not say something else.
    """
    errors: list[dict[str, str]] = []

    def value(header: str, *, required: bool = False) -> str:
        name = header.upper().replace("-", "_")
        text = headers.get(name if name == "CONTENT_TYPE" else f"HTTP_{name}", None)
        stands_for = (given or {}).get(header)
        if stands_for is not None:
            if text and text != stands_for:
                errors.append({"header": header, "detail": f"must be {stands_for!r} here, or be left out"})
            text = stands_for
        if text is None or (text == "" and required):
            if required:
                detail = "is required" if text is None else "is required, and must be printable ASCII"
                errors.append({"header": header, "detail": detail})
            return ""
        if len(text) > LONGEST:
            errors.append({"header": header, "detail": f"has {len(text)} characters; at most {LONGEST} are allowed"})
        elif not _PRINTABLE.fullmatch(text):
            errors.append({"header": header, "detail": "must be printable ASCII"})
        return text

    sent_by = value("X-Sent-By", required=True)
    send_to = value("X-Send-To", required=True)
    written_id = value("X-Message-Id", required=True)
    written_ref = value("X-Message-Id-Ref")
    model_type = value("X-Model-Type")
    content_type = value("Content-Type") or DEFAULT_CONTENT_TYPE
    message_id = parse_uuid(written_id)
    if written_id and message_id is None and "X-Message-Id" not in named(errors):
        errors.append({"header": "X-Message-Id", "detail": f"must be a UUID, not {written_id!r}"})
    conversation = value("X-Conversation-Id")
    ttl = value("TTL")
    if (
        ttl
        and "TTL" not in named(errors)
        and not (ttl.isascii() and ttl.isdigit() and len(ttl) <= 10 and int(ttl) > 0)
    ):
        errors.append({"header": "TTL", "detail": f"must be a whole number of seconds above 0, not {ttl!r}"})
    if errors or message_id is None:
        raise InvalidHeader("; ".join(f"{each['header']} {each['detail']}" for each in errors), errors=errors)
    return Envelope(
        message_id=message_id,
        written_id=written_id,
        sent_by=sent_by,
        send_to=send_to,
        written_ref=written_ref,
        model_type=model_type,
        content_type=content_type,
        time_to_live=int(ttl) if ttl else None,
        conversation=conversation,
    )

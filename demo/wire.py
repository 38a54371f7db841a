"""A message as bots write and read it: five headers, and base64 of UTF-8 JSON `{"Message", "Classification"}`."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

CLASSIFIER = "Classifier"
DMR = "Dmr"

QUESTION = "application/vnd.dmr.messagerequest+json"
CLASSIFICATION = "application/vnd.classifier.classification+json"
ANSWER = "application/vnd.mockbot.messageacknowledge+json"
ERROR = "application/vnd.dmr.error+json"

CONTENT_TYPE = "text/plain"


class Unreadable(ValueError):
    """What was posted is no message."""


@dataclass(frozen=True)
class Message:
    """`kind` is the model type without its version. `status` is that of an error message, else 0."""

    message_id: str
    sender: str
    recipient: str
    kind: str
    text: str
    classification: str = ""
    ref: str = ""  # the id of the message that this one is about
    status: int = 0

    def headers(self) -> dict[str, str]:
        found = {
            "X-Sent-By": self.sender,
            "X-Send-To": self.recipient,
            "X-Message-Id": self.message_id,
            "X-Model-Type": f"{self.kind};version=1",
            "Content-Type": CONTENT_TYPE,
        }
        return {**found, "X-Message-Id-Ref": self.ref} if self.ref else found

    def body(self) -> bytes:
        content = {"Message": self.text, "Classification": self.classification}
        return base64.b64encode(json.dumps(content, ensure_ascii=False).encode())


def read(headers: Mapping[str, str], body: bytes) -> Message:
    """The message in a request (`headers` without regard to case). Raises Unreadable."""
    given = {name.lower(): value for name, value in headers.items()}
    for name in ("X-Sent-By", "X-Send-To", "X-Message-Id"):
        if not given.get(name.lower()):
            raise Unreadable(f"{name} is required")
    kind = given.get("x-model-type", "").partition(";")[0].strip()
    content = _decoded(body)
    status = content.get("status")
    return Message(
        message_id=normal_id(given["x-message-id"]),
        sender=given["x-sent-by"],
        recipient=given["x-send-to"],
        kind=kind,
        text=_text(content, "message" if kind == ERROR else "Message"),
        classification=_text(content, "Classification"),
        ref=normal_id(given["x-message-id-ref"]) if given.get("x-message-id-ref") else "",
        status=status if isinstance(status, int) else 0,
    )


def new_id() -> str:
    return str(uuid.uuid4())


def derived_id(message: Message, purpose: str) -> str:
    """The id of what we send because of `message`: the same each time, so that a repeat is known as one."""
    return str(uuid.uuid5(uuid.UUID(message.message_id), f"{message.sender}/{purpose}"))


def normal_id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise Unreadable(f"{text!r} is not a UUID") from None


def _decoded(body: bytes) -> dict[str, object]:
    try:
        content = json.loads(base64.b64decode(body, validate=True).decode())
    except ValueError:
        raise Unreadable("the body is not base64 of JSON in UTF-8") from None
    if not isinstance(content, dict):
        raise Unreadable("the body is not a JSON object")
    return content


def _text(content: dict[str, object], name: str) -> str:
    value = content.get(name, "")
    if not isinstance(value, str):
        raise Unreadable(f"{name} is not a string")
    return value

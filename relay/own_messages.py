"""What we say ourselves: messages from Dmr. Source: CONTRACTS.md, sections 1 and 3."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta

from participants import names
from participants.models import DEFAULT_TIME_TO_LIVE, Participant
from relay.envelope import DEFAULT_CONTENT_TYPE
from relay.models import Delivery, Message

TIME_TO_LIVE = timedelta(seconds=DEFAULT_TIME_TO_LIVE)


def draft(
    relay: Participant,
    *,
    to_id: int,
    to_name: str,
    ref: str,
    model_type: str,
    said: Mapping[str, object],
    at: datetime,
) -> tuple[Message, Delivery]:
    """A message about one of whoever is told, and its delivery, to be stored one after the other.

    `relay`: our own entry; `said` becomes JSON.
    """
    message = draft_message(relay, uuid.uuid4(), to_name=to_name, ref=ref, model_type=model_type, said=said, at=at)
    return message, draft_delivery(message, to_id, to_name)


def draft_message(
    relay: Participant,
    message_id: uuid.UUID,
    *,
    model_type: str,
    said: Mapping[str, object],
    at: datetime,
    to_name: str | None = None,
    ref: str = "",
    conversation: str = "",
    expires_at: datetime | None = None,
) -> Message:
    """To one, or, where `to_name` is None, to many: then each delivery bears its recipient's own name."""
    written_id = str(message_id)
    body = base64.b64encode(json.dumps(said, ensure_ascii=False).encode())
    return Message(
        sender=relay,
        message_id=message_id,
        written_id=written_id,
        written_ref=ref,
        sent_by=names.DMR,
        send_to=to_name or "",
        is_to_room=to_name is None,  # without a room's name there is no X-Room
        model_type=model_type,
        conversation=conversation,
        content_type=DEFAULT_CONTENT_TYPE,
        payload=body,
        payload_size=len(body),
        digest="",
        accepted_at=at,
        expires_at=expires_at or at + TIME_TO_LIVE,
    )


def draft_delivery(message: Message, to_id: int, to_name: str) -> Delivery:
    return Delivery(
        message=message,
        recipient_id=to_id,
        recipient_name=to_name,
        sender_id=message.sender_id,
        conversation=message.conversation,
        due_at=message.accepted_at,
        accepted_at=message.accepted_at,
        expires_at=message.expires_at,
    )

"""What we say ourselves: messages from Dmr, about a message of whoever is told. Source: CONTRACTS.md, section 1."""

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
    """A message and its delivery, to be stored one after the other. `relay`: our own entry; `said` becomes JSON."""
    written_id = str(uuid.uuid4())
    body = base64.b64encode(json.dumps(said, ensure_ascii=False).encode())
    message = Message(
        sender=relay,
        message_id=uuid.UUID(written_id),
        written_id=written_id,
        written_ref=ref,
        sent_by=names.DMR,
        send_to=to_name,
        model_type=model_type,
        content_type=DEFAULT_CONTENT_TYPE,
        payload=body,
        payload_size=len(body),
        digest="",
        accepted_at=at,
        expires_at=at + TIME_TO_LIVE,
    )
    delivery = Delivery(
        message=message,
        recipient_id=to_id,
        recipient_name=to_name,
        sender=relay,
        due_at=at,
        accepted_at=at,
        expires_at=message.expires_at,
    )
    return message, delivery

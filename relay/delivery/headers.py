"""The headers that a message bears on its way out. Pure but for the clock."""

from __future__ import annotations

import time

from participants import names
from relay.delivery import attestation
from relay.delivery.claimed import Claimed
from relay.delivery_keys import Signer


def headers_of(claimed: Claimed) -> dict[str, str]:
    """The routing headers as the sender wrote them; those it left out stay out."""
    headers = {
        "X-Sent-By": claimed.sent_by,
        "X-Send-To": claimed.send_to,
        "X-Message-Id": claimed.written_id,
        "Content-Type": claimed.content_type,
    }
    if claimed.written_ref:
        headers["X-Message-Id-Ref"] = claimed.written_ref
    if claimed.model_type:
        headers["X-Model-Type"] = claimed.model_type
    if claimed.room:
        headers["X-Room"] = claimed.room
    if claimed.conversation:
        headers["X-Conversation-Id"] = claimed.conversation
    return headers


def attested_headers(claimed: Claimed, signer: Signer) -> dict[str, str]:
    """The routing headers, and who sent this to whom, signed as of now."""
    # A classifier may speak under its alias. All others are who they say: the relay checked that on accepting.
    sender = claimed.sender_name if claimed.sent_by == names.CLASSIFIER else claimed.sent_by
    now = int(time.time())
    return attestation.attest(headers_of(claimed), sender, claimed.recipient_name, claimed.payload, signer, now)

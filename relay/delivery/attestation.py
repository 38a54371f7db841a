"""What a delivery is signed with: Standard Webhooks headers, `v1a` (ed25519). Pure. See docs/attested-delivery.md.

The standard signs the id, the time and the body, no other header. So the id is itself made of the others: a digest
of who sent this to whom, and of every header that we forward. It is the same at each attempt, and no two messages
share it, for a sender uses a message id once.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from relay.delivery_keys import Signer, base64url

VERSION = "dmr-delivery-v1"
ID_PREFIX = "dmr_"  # what follows has no full stop, which separates the parts of what is signed
SENDER, RECIPIENT, KEY = "X-Attested-Sender", "X-Attested-Recipient", "X-Attested-Key"
# The lines under VERSION of what the id is a digest of; a header that is not there is an empty line.
BOUND = (
    SENDER,
    RECIPIENT,
    "X-Sent-By",
    "X-Send-To",
    "X-Message-Id",
    "X-Message-Id-Ref",
    "X-Model-Type",
    "Content-Type",
    "X-Conversation-Id",
    "X-Room",
)


def webhook_id(headers: Mapping[str, str]) -> str:
    """Of the headers in BOUND. Their values are printable ASCII; HTTP drops spaces at their ends."""
    lines = [VERSION, *(headers.get(name, "").strip() for name in BOUND)]
    return ID_PREFIX + base64url(hashlib.sha256("\n".join(lines).encode("ascii")).digest())


def attest(
    headers: dict[str, str], sender: str, recipient: str, body: bytes, signer: Signer, timestamp: int
) -> dict[str, str]:
    """The headers with what attests them. `sender` is who authenticated; `timestamp` the attempt's (s since 1970)."""
    attested = {**headers, SENDER: sender, RECIPIENT: recipient}
    identity = webhook_id(attested)
    signature = signer.sign(b"%s.%d.%s" % (identity.encode("ascii"), timestamp, body))
    return {
        **attested,
        KEY: signer.key_id,
        "webhook-id": identity,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1a,{base64.b64encode(signature).decode('ascii')}",
    }

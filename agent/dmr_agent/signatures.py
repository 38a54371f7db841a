"""Signatures over a manifest's canonical bytes, and the threshold of different keys.

A signature: `{"keyId": <hexadecimal SHA-256 of the raw public key>, "signature": <base64 of 64 bytes>}`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dmr_agent import keys

MAX_SIGNATURES = 100


def sign(content: bytes, key: Ed25519PrivateKey) -> dict[str, str]:
    return {
        "keyId": keys.key_id(key.public_key().public_bytes_raw()),
        "signature": base64.b64encode(key.sign(content)).decode("ascii"),
    }


def signers(content: bytes, signatures: Iterable[Any], trusted: Mapping[str, Ed25519PublicKey]) -> set[str]:
    """The ids of the trusted keys that signed exactly these bytes; all else in the list counts nothing."""
    found = set()
    for signature in list(signatures)[:MAX_SIGNATURES]:
        if not isinstance(signature, dict):
            continue
        identity, value = signature.get("keyId"), signature.get("signature")
        if not isinstance(identity, str) or not isinstance(value, str) or identity not in trusted:
            continue
        try:
            trusted[identity].verify(base64.b64decode(value, validate=True), content)
        except (InvalidSignature, ValueError):
            continue
        found.add(identity)
    return found

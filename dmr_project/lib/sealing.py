"""Secrets that lie in the database: encrypted under a key derived from DMR_SECRET_KEY.

A sealed secret is the text `v1:<which secret key>:<base64 of nonce and AES-256-GCM ciphertext>`. It is bound to its
context (what it is, and whose), so that a row's secret cannot be put into another row.
"""

from __future__ import annotations

import base64
import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from dmr_project.lib.errors import DomainError

VERSION = "v1"
NONCE_BYTES = 12


class CannotUnseal(DomainError):
    """Nothing that the caller can mend: DMR_SECRET_KEY has changed, or the row was tampered with."""

    status = 503
    code = "secret-unreadable"
    title = "A stored secret cannot be read"


def seal(clear: bytes, context: str) -> str:
    """Encrypted under the present secret key."""
    secret = settings.SECRET_KEY
    nonce = os.urandom(NONCE_BYTES)
    ciphertext = AESGCM(_derive(secret, "key")).encrypt(nonce, clear, context.encode())
    return f"{VERSION}:{_name(secret)}:{base64.b64encode(nonce + ciphertext).decode('ascii')}"


def unseal(sealed: str, context: str) -> bytes:
    """Decrypted, also where it was sealed under one of DMR_SECRET_KEY_FALLBACKS. Raises CannotUnseal."""
    version, _, rest = sealed.partition(":")
    name, _, written = rest.partition(":")
    secret = next((each for each in _secrets() if _name(each) == name), None)
    if version != VERSION or secret is None:
        raise CannotUnseal(
            "It was encrypted under another DMR_SECRET_KEY: put that into DMR_SECRET_KEY_FALLBACKS, and start again."
        )
    try:
        raw = base64.b64decode(written, validate=True)
        return AESGCM(_derive(secret, "key")).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError):
        raise CannotUnseal("What is stored is damaged, or belongs to another row.") from None


def is_current(sealed: str) -> bool:
    """Is it under the present secret key, so that no fallback is needed for it?"""
    return sealed.startswith(f"{VERSION}:{_name(settings.SECRET_KEY)}:")


def _secrets() -> list[str]:
    return [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]


def _name(secret: str) -> str:
    """Which secret key it is, telling nothing about it."""
    return _derive(secret, "name")[:6].hex()


@lru_cache(maxsize=32)
def _derive(secret: str, purpose: str) -> bytes:
    return HKDF(SHA256(), 32, salt=b"dmr sealing v1", info=purpose.encode()).derive(secret.encode())

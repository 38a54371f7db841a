"""Time-based one-time passwords (RFC 6238), as authenticator apps show them: SHA-1, six digits, for 30 s each."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from urllib.parse import quote, urlencode

STEP_SECONDS = 30
DIGITS = 6
SECRET_BYTES = 20
DRIFT = 1  # steps that the clock of a telephone may go wrong, both ways


def new_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)


def code(secret: bytes, step: int) -> str:
    """The code of one step, counted from 1970."""
    mac = hmac.new(secret, step.to_bytes(8, "big"), hashlib.sha1).digest()
    offset = mac[-1] & 0x0F
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}}"


def matching_step(secret: bytes, typed: str, at: float, after: int) -> int | None:
    """The step whose code was typed at that time; None where there is none, or none later than the last one used."""
    now = int(at // STEP_SECONDS)
    fitting = [
        step
        for step in range(now - DRIFT, now + DRIFT + 1)
        if hmac.compare_digest(code(secret, step).encode(), typed.encode("utf-8", "replace"))
    ]
    return next((step for step in fitting if step > after), None)


def as_text(secret: bytes) -> str:
    """For people who type it: base32, in groups of four."""
    written = base64.b32encode(secret).decode("ascii")
    return " ".join(written[start : start + 4] for start in range(0, len(written), 4))


def uri(secret: bytes, issuer: str, name: str) -> str:
    """What the QR code says, in the form that authenticator apps agree on."""
    query = {"secret": base64.b32encode(secret).decode("ascii"), "issuer": issuer, "digits": DIGITS}
    return f"otpauth://totp/{quote(f'{issuer}:{name}')}?{urlencode(query, quote_via=quote)}"

"""What a recipient answered, made fit to be kept and shown: short, harmless, and without our payload. Pure."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator

KEPT_BYTES = 1024  # of an answer's body
WITHHELD = "(withheld: it repeats the message)"

# A run of the payload this long is found wherever it stands, and a shorter one now and then.
_FOUND_RUN = 32
_BLOCK = _FOUND_RUN // 2
_ESCAPES = re.compile(rb'(?:\\u[0-9a-fA-F]{4})+|\\["\\/bfnrt]')


def kept(body: bytes, payload: bytes) -> str:
    """The first KEPT_BYTES of an answer as text; WITHHELD where they repeat the payload that was delivered.

    What is not UTF-8, control characters and those that turn the direction of writing become U+FFFD.
    """
    start = body[:KEPT_BYTES]
    if not start:
        return ""
    return WITHHELD if repeats(start, payload) else shown(start)


def shown(start: bytes) -> str:
    text = start.decode("utf-8", "replace").replace("\r\n", "\n")
    return "".join(each if each in "\n\t" or unicodedata.category(each)[0] != "C" else "\ufffd" for each in text)


def repeats(said: bytes, payload: bytes) -> bool:
    """Does an answer hold the payload, or FOUND_RUN bytes of it: as it is, in or out of base64, in JSON?"""
    spellings = {said, unescaped(said)}
    return any(_have_in_common(each, form) for form in _forms(payload) for each in spellings)


def _forms(payload: bytes) -> Iterator[bytes]:
    yield payload
    yield unescaped(payload)
    yield base64.b64encode(payload).rstrip(b"=")
    try:
        decoded = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        return
    yield decoded
    yield unescaped(decoded)


def unescaped(text: bytes) -> bytes:
    """Without the escapes of JSON's strings, so that a text is the same in and out of them."""
    return _ESCAPES.sub(_character, text)


def _character(match: re.Match[bytes]) -> bytes:
    found = match.group()
    if not found.startswith(b"\\u"):
        return {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}.get(found[1:], found[1:])
    units = b"".join(bytes.fromhex(each.decode()) for each in found.split(b"\\u")[1:])
    return units.decode("utf-16-be", "replace").encode()


def _have_in_common(said: bytes, payload: bytes) -> bool:
    if not payload:
        return False
    if len(payload) < _FOUND_RUN:
        return payload in said
    # A run of 2 * _BLOCK - 1 bytes, wherever it begins, holds a block that is aligned in the payload.
    there = {said[at : at + _BLOCK] for at in range(len(said) - _BLOCK + 1)}
    return any(payload[at : at + _BLOCK] in there for at in range(0, len(payload) - _BLOCK + 1, _BLOCK))

"""What a recipient answered, made fit to be kept and shown: short, harmless, and without our payload. Pure."""

from __future__ import annotations

import base64
import binascii
import re
import struct
import unicodedata
from collections.abc import Collection, Iterator
from operator import itemgetter

KEPT_BYTES = 1024  # of an answer's body
WITHHELD = "(withheld: it repeats the message)"
UNSEEN = "(withheld: it may repeat the message)"
MOST_BYTES, MOST_ESCAPES = 4 * 1024 * 1024, 20_000  # of a payload that is looked for

# A run of the payload this long is found wherever it stands, and a shorter one now and then.
_FOUND_RUN = 32
_BLOCK = _FOUND_RUN // 2
_ESCAPES = re.compile(rb'(?:\\u[0-9a-fA-F]{4})+|\\["\\/bfnrt]')


class _TooManyEscapes(Exception):
    pass


def kept(body: bytes, payload: bytes) -> str:
    """The first KEPT_BYTES of an answer as text; WITHHELD where they repeat the payload that was delivered.

    UNSEEN where to find that out would take too long.

    What is not UTF-8, control characters and those that turn the direction of writing become U+FFFD.
    """
    start = body[:KEPT_BYTES]
    if not start:
        return ""
    if len(payload) > MOST_BYTES:
        return UNSEEN
    try:
        return WITHHELD if repeats(start, payload) else shown(start)
    except _TooManyEscapes:
        return UNSEEN


def shown(start: bytes) -> str:
    text = start.decode("utf-8", "replace").replace("\r\n", "\n")
    return "".join(each if each in "\n\t" or unicodedata.category(each)[0] != "C" else "\ufffd" for each in text)


def repeats(said: bytes, payload: bytes) -> bool:
    """Does an answer hold the payload, or FOUND_RUN bytes of it: as it is, in or out of base64, in JSON?"""
    spellings = {said, unescaped(said)}
    there = {each[at : at + _BLOCK] for each in spellings for at in range(len(each) - _BLOCK + 1)}
    return any(_is_there(form, spellings, there) for form in _forms(payload))


def _forms(payload: bytes) -> Iterator[bytes]:
    yield from _in_json(payload)
    yield base64.b64encode(payload).rstrip(b"=")
    try:
        decoded = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        return
    yield from _in_json(decoded)


def _in_json(text: bytes) -> Iterator[bytes]:
    yield text
    escapes = text.count(b"\\")
    if escapes > MOST_ESCAPES:
        raise _TooManyEscapes
    if escapes:
        yield unescaped(text)


def unescaped(text: bytes) -> bytes:
    """Without the escapes of JSON's strings, so that a text is the same in and out of them."""
    return _ESCAPES.sub(_character, text)


def _character(match: re.Match[bytes]) -> bytes:
    found = match.group()
    if not found.startswith(b"\\u"):
        return {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}.get(found[1:], found[1:])
    units = b"".join(bytes.fromhex(each.decode()) for each in found.split(b"\\u")[1:])
    return units.decode("utf-16-be", "replace").encode()


def _is_there(form: bytes, spellings: Collection[bytes], there: set[bytes]) -> bool:
    """Of a long one: is any of its blocks? A payload has many, and Python's own code sees none of them."""
    if not form:
        return False
    if len(form) < _FOUND_RUN:
        return any(form in each for each in spellings)
    # A run of 2 * _BLOCK - 1 bytes, wherever it begins, holds a block that is aligned in the payload.
    blocks = struct.iter_unpack(f"{_BLOCK}s", memoryview(form)[: len(form) // _BLOCK * _BLOCK])
    return not there.isdisjoint(map(itemgetter(0), blocks))

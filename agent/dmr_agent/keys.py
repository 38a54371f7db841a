"""Staff keys: ed25519, made and kept offline by the people who sign releases.

FILE      the private key: PEM (PKCS #8, not encrypted), mode 0600. It never leaves its owner's machine.
FILE.pub  the public key: one line, base64 of the 32 raw bytes. `manage.py staff_key add FILE.pub` and an
          agent's `trusted_keys` read it.
key id    hexadecimal SHA-256 of the 32 raw bytes.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dmr_agent import log
from dmr_agent.errors import AgentError

RAW_BYTES = 32


class KeyUnusable(AgentError):
    """A key file can't be read or written, or holds no such key."""


def generate(path: Path) -> str:
    """Write a new key pair to `path` and `path`.pub; returns the key id. Never overwrites."""
    public_path = path.with_name(path.name + ".pub")
    for taken in (path, public_path):
        if os.path.lexists(taken):
            raise KeyUnusable(f"{taken} exists already and is not overwritten")
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    raw = key.public_key().public_bytes_raw()
    _write_new(path, private, 0o600)
    _write_new(public_path, base64.b64encode(raw) + b"\n", 0o644)
    return key_id(raw)


def key_id(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def load_private(path: Path) -> Ed25519PrivateKey:
    try:
        content = path.read_bytes()
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            log.warn("private_key_readable_by_others", path=path)
        key = serialization.load_pem_private_key(content, password=None)
    except OSError as error:
        raise KeyUnusable(f"can't read {path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise KeyUnusable(f"{path} holds no private key that can be used") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusable(f"{path} is not an ed25519 key")
    return key


def trusted(entries: Iterable[str], folder: Path) -> dict[str, Ed25519PublicKey]:
    """Key id → key, from base64 given inline or paths of .pub files, relative ones below `folder`.

    A key that is listed twice is one key. Raises KeyUnusable.
    """
    found = {}
    for entry in entries:
        raw = _decode(entry)
        if raw is None:
            path = folder / entry
            try:
                raw = _decode(path.read_text("ascii", errors="replace"))
            except (OSError, ValueError) as error:
                raise KeyUnusable(f"can't read the public key {path}: {error}") from error
            if raw is None:
                raise KeyUnusable(f"{path} must hold one line, base64 of a raw ed25519 public key")
        found[key_id(raw)] = Ed25519PublicKey.from_public_bytes(raw)
    return found


def _decode(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        return None
    return raw if len(raw) == RAW_BYTES else None


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise KeyUnusable(f"can't write {path}: {error.strerror}") from error

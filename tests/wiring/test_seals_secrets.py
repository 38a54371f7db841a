"""Secrets in the database are readable under DMR_SECRET_KEY and its fallbacks, in their own row, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from dmr_project.lib import sealing

SECRET = b"\x00a private key\xff"


def test_what_is_sealed_can_be_read_in_its_context_only() -> None:
    sealed = sealing.seal(SECRET, "key of one")
    assert sealing.unseal(sealed, "key of one") == SECRET
    assert sealing.seal(SECRET, "key of one") != sealed, "two of the same cannot be told to be the same"
    with pytest.raises(sealing.CannotUnseal, match="belongs to another row"):
        sealing.unseal(sealed, "key of another")


def test_what_is_sealed_shows_nothing() -> None:
    import base64

    sealed = sealing.seal(SECRET, "x")
    raw = base64.b64decode(sealed.rpartition(":")[2])
    assert SECRET not in raw
    assert sealed.isascii()


@pytest.mark.parametrize("damage", ["", "v1", "v1:abc:!!", "v2:a:b", "plain text"])
def test_what_is_damaged_is_refused(damage: str) -> None:
    with pytest.raises(sealing.CannotUnseal):
        sealing.unseal(damage, "x")


def test_one_changed_bit_is_noticed() -> None:
    head, _, written = sealing.seal(SECRET, "x").rpartition(":")
    changed = ("B" if written[20] == "A" else "A").join((written[:20], written[21:]))
    with pytest.raises(sealing.CannotUnseal, match="damaged"):
        sealing.unseal(f"{head}:{changed}", "x")


def test_a_changed_secret_key_needs_the_old_one_as_a_fallback(settings: Any) -> None:
    old = settings.SECRET_KEY
    sealed = sealing.seal(SECRET, "x")
    settings.SECRET_KEY = "another secret key"
    with pytest.raises(sealing.CannotUnseal, match="DMR_SECRET_KEY_FALLBACKS"):
        sealing.unseal(sealed, "x")
    settings.SECRET_KEY_FALLBACKS = ["an older one", old]
    assert sealing.unseal(sealed, "x") == SECRET
    assert not sealing.is_current(sealed)
    assert sealing.is_current(sealing.seal(SECRET, "x"))

"""Codes are those of RFC 6238, may be a step early or late, and none counts that is not later than the last."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from staff import totp

SECRET = b"12345678901234567890"  # of the RFC's appendix B
NOW = 1_111_111_109
STEP = NOW // 30


@pytest.mark.parametrize(
    ("at", "expected"),  # the last six digits of what the RFC gives with eight
    [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000, "353130"),
    ],
)
def test_codes_are_those_of_the_rfc(at: int, expected: str) -> None:
    assert totp.code(SECRET, at // 30) == expected


@pytest.mark.parametrize(
    ("typed", "after", "expected"),
    [
        (totp.code(SECRET, STEP), -1, STEP),
        (totp.code(SECRET, STEP - 1), -1, STEP - 1),
        (totp.code(SECRET, STEP + 1), -1, STEP + 1),
        (totp.code(SECRET, STEP - 2), -1, None),
        (totp.code(SECRET, STEP + 2), -1, None),
        (totp.code(SECRET, STEP), STEP - 1, STEP),
        (totp.code(SECRET, STEP), STEP, None),
        (totp.code(SECRET, STEP - 1), STEP, None),
        ("", -1, None),
        ("81804", -1, None),
        ("０８１８０４", -1, None),
        ("\ud800", -1, None),
    ],
)
def test_decides_which_step_was_typed(typed: str, after: int, expected: int | None) -> None:
    assert totp.matching_step(SECRET, typed, NOW, after) == expected


def test_apps_are_told_all_they_need() -> None:
    parts = urlsplit(totp.uri(SECRET, "DMR dmr.example.ee", "anna@x"))
    assert (parts.scheme, parts.netloc, parts.path) == ("otpauth", "totp", "/DMR%20dmr.example.ee%3Aanna%40x")
    assert parse_qs(parts.query) == {
        "secret": ["GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"],
        "issuer": ["DMR dmr.example.ee"],
        "digits": ["6"],
    }
    assert totp.as_text(SECRET).replace(" ", "") == "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


def test_no_two_secrets_are_alike() -> None:
    assert len({totp.new_secret() for _ in range(100)}) == 100
    assert len(totp.new_secret()) == 20

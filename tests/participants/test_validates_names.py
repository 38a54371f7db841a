"""participants.names: what names, endpoints and success statuses may look like."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.exceptions import ValidationError

from participants.names import is_success, validate_host, validate_name, validate_statuses


def is_valid(validate: Callable[[str], None], text: str) -> bool:
    try:
        validate(text)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("bot1", True),
        ("a" * 50, True),
        ("tax bot, 2nd (north)", True),
        ("~!@#$%^&*", True),
        ("dmr-relay", True),
        ("classifier", True),
        ("Dmr1", True),
        ("bot", False),
        ("a" * 51, False),
        ("Classifier", False),
        (" bot1", False),
        ("bot1 ", False),
        ("bot\t1", False),
        ("bot\n1", False),
        ("bot\x7f1", False),
        ("böt1", False),
        ("", False),
    ],
)
def test_names_travel_in_headers(name: str, valid: bool) -> None:
    assert is_valid(validate_name, name) is valid


@pytest.mark.parametrize(
    ("host", "valid"),
    [
        ("http://bot1:8080/dmr-api/messages", True),
        ("https://bot.example.ee/messages?x=1", True),
        ("http://[::1]:8080/", True),
        ("http://127.0.0.1/", True),
        ("HTTP://BOT/", True),
        ("http://b", True),
        ("bot1:8080/messages", False),
        ("//bot/messages", False),
        ("ftp://bot/messages", False),
        ("file:///etc/passwd", False),
        ("http:///messages", False),
        ("http://user@bot/", False),
        ("http://user:word@bot/", False),
        ("http://bot/#part", False),
        ("http://bot:0/", False),
        ("http://bot:65536/", False),
        ("http://bot:port/", False),
        ("http://[::1/", False),
        ("http://bot/a b", False),
        ("http://böt/", False),
        ("http://bot/\r\nX: y", False),
        ("http://bot/" + "a" * 100, False),
        ("", False),
    ],
)
def test_endpoints_are_full_urls(host: str, valid: bool) -> None:
    assert is_valid(validate_host, host) is valid


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("2xx", True),
        ("2xx,300", True),
        ("202, 300", True),
        ("", False),
        ("2xx,", False),
        ("600", False),
        ("20", False),
        ("2XX", False),
        ("xxx", False),
        ("2xx;300", False),
    ],
)
def test_success_statuses(text: str, valid: bool) -> None:
    assert is_valid(validate_statuses, text) is valid


@pytest.mark.parametrize(
    ("status", "statuses", "success"),
    [
        (200, "2xx", True),
        (299, "2xx", True),
        (300, "2xx", False),
        (300, "2xx,300", True),
        (301, "2xx,300", False),
        (202, "202", True),
        (200, "202", False),
        (200, " 2xx , 300 ", True),
        (404, "4xx", True),
    ],
)
def test_knows_success(status: int, statuses: str, success: bool) -> None:
    assert is_success(status, statuses) is success

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from relay.delivery.transport import parse_retry_after

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("99999999999999999999", 1e9),
        ("Tue, 24 Nov 2026 12:01:40 GMT", 100.0),
        ("Tue, 24 Nov 2026 14:01:40 +0200", 100.0),
        ("Tue, 24 Nov 2026 12:01:40 -0000", 100.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("Tuesday, 24-Nov-26 12:01:40 GMT", 100.0),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("Tue, 99 Nov 2026 12:01:40 GMT", None),
        ("Tue, 24 Nov 99999999999999999999 12:01:40 GMT", None),
    ],
)
def test_understands_seconds_and_dates(value: str, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds

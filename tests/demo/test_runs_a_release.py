"""A bot's release: `release.json` in its folder, read for every heartbeat."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo import release


def test_a_replaced_release_shows_at_once(tmp_path: Path) -> None:
    release.ensure(tmp_path)
    status, body = release.heartbeat(tmp_path, "police")
    assert (status, body["version"]) == (200, "1.0.0")
    assert set(body) == {"appName", "version", "packagingTime", "appStartTime", "serverTime"}
    assert body["appStartTime"] <= body["serverTime"]
    (tmp_path / release.FILE).write_text('{"version": "1.1.0"}')
    release.ensure(tmp_path)
    status, body = release.heartbeat(tmp_path, "police")
    assert (status, body["version"]) == (200, "1.1.0")


@pytest.mark.parametrize(
    ("content", "version"),
    [('{"version": "1.2.0", "broken": true}', "1.2.0"), ("{", ""), ("[]", ""), ("{}", ""), (None, "")],
)
def test_a_broken_release_is_not_well(tmp_path: Path, content: str | None, version: str) -> None:
    if content is not None:
        (tmp_path / release.FILE).write_text(content)
    status, body = release.heartbeat(tmp_path, "police")
    assert (status, body["version"]) == (503, version)

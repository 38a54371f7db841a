"""A bot's release: `release.json` in its folder, read for every heartbeat."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from demo import manifest, release


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


def test_the_installer_takes_a_manifest_as_often_as_it_is_given(tmp_path: Path) -> None:
    def install(wanted: object) -> tuple[int, str]:
        command = [sys.executable, "-m", "demo.installer", str(tmp_path)]
        subprocess.run(command, input=json.dumps(wanted), text=True, check=True, cwd=Path(__file__).parents[2])
        status, body = release.heartbeat(tmp_path, "police")
        return status, body["version"]

    release.ensure(tmp_path)
    bad = manifest.make("1.2.0", 3, "", "", is_broken=True)
    assert [install(bad), install(bad)] == [(503, "1.2.0")] * 2
    assert release.installed(tmp_path) == ("1.2.0", 3)
    assert install(manifest.make("1.1.0", 2, "", "")) == (200, "1.1.0")
    assert install(None) == (200, release.FIRST_VERSION)  # undo, where no release is known


@pytest.mark.parametrize(
    ("known", "version"),
    [((), "1.1.0"), (("1.0.0",), "1.1.0"), (("1.9.1", "1.10.0", "1.2.0"), "1.11.0"), (("2.0.0-rc.1", "x"), "2.1.0")],
)
def test_the_next_version_is_above_all_that_are_known(known: tuple[str, ...], version: str) -> None:
    assert manifest.next_version(known) == version

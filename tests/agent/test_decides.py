"""The pure decisions, by table: order of versions, deadlines, pauses; and the imports of the package."""

from __future__ import annotations

import ast
import sys
from datetime import datetime, timezone
from pathlib import Path

import dmr_agent
import pytest
from dmr_agent.manifest import ManifestInvalid, version_key
from dmr_agent.offer import OfferRefused, is_past
from dmr_agent.schedule import after_answer, after_failure

ORDERED = """0.9.0 1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0
    1.0.1 1.2.0 1.10.0"""


def test_versions_are_ordered_as_semver_says() -> None:
    versions = ORDERED.split()
    shuffled = versions[::2] + versions[1::2]
    assert sorted(shuffled, key=version_key) == versions
    assert version_key("1.0.0+a") == version_key("1.0.0+b")


@pytest.mark.parametrize("text", ["", "1", "1.0", "01.0.0", "1.0.0-", "1.0.0-01", "v1.0.0", "1.0.0\n", "١.0.0"])
def test_what_is_no_semantic_version_is_refused(text: str) -> None:
    with pytest.raises(ManifestInvalid):
        version_key(text)


NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("deadline", "expected"),
    [
        ("2026-01-01T12:00:00Z", True),
        ("2026-01-01T12:00:01Z", False),
        ("2026-01-01T12:00:00.123456789Z", False),
        ("2026-01-01T12:00:00.5+00:00", False),
        ("2026-01-01T13:30:00+02:00", True),
    ],
)
def test_deadlines(deadline: str, expected: bool) -> None:
    assert is_past(deadline, NOON) is expected


@pytest.mark.parametrize("deadline", ["", "soon", "2026-01-01T12:00:00", "2026-13-01T12:00:00Z"])
def test_what_is_no_deadline_is_refused(deadline: str) -> None:
    with pytest.raises(OfferRefused):
        is_past(deadline, NOON)


@pytest.mark.parametrize(
    ("wish", "chance", "expected"),
    [
        (30, 0, 30),
        (30, 1, 33),
        (0, 0, 1),
        (1e9, 0, 3600),
        (float("inf"), 0, 3600),
        (None, 0, 60),
        ("9", 0, 60),
    ],
)
def test_pause_after_an_answer(wish: object, chance: float, expected: float) -> None:
    assert after_answer(wish, chance) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("failures", "least", "most"), [(1, 5, 10), (2, 10, 20), (3, 20, 40), (6, 150, 300), (10_000, 150, 300)]
)
def test_pauses_grow_while_the_server_is_away(failures: int, least: float, most: float) -> None:
    assert after_failure(failures, 5, 300, 0) == pytest.approx(least)
    assert after_failure(failures, 5, 300, 1) == pytest.approx(most)


def test_imports_nothing_of_the_server() -> None:
    allowed = {*sys.stdlib_module_names, "dmr_agent", "cryptography", "rfc8785"}
    for path in Path(dmr_agent.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.partition(".")[0] for name in names} <= allowed, path

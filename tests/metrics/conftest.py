"""A world for what moves metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.test import Client

from observability import collectors
from relay.delivery.engine import Engine
from tests.metrics.moves import World
from tests.relay.conftest import edge, engine  # noqa: F401


@pytest.fixture
def world(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[World]:
    def made() -> Engine:
        found: Engine = request.getfixturevalue("engine")
        return found

    with ExitStack() as later:
        yield World(client, monkeypatch, tmp_path, made, later)
    collectors.forget()

"""Fixtures of the agent's tests, which need neither Django nor a database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .fakes import FakeServer, Instance


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()


@pytest.fixture
def instance(tmp_path: Path, server: FakeServer) -> Instance:
    return Instance(tmp_path, server)

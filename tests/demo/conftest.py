from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.demo.running import Demo
from tests.integration import databases

StartDemo = Callable[..., Demo]


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[StartDemo]:
    """Starts `python -m demo` on an empty database and broker; ends it after the test."""
    with ExitStack() as stack:
        servers = stack.enter_context(databases.of_its_own())

        def start(*arguments: str, **environment: str) -> Demo:
            demo = Demo(tmp_path, {**servers, **environment}, *arguments)
            stack.callback(demo.end)
            return demo

        yield start

"""The demonstration ends when asked, at any moment, and leaves nothing behind."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.demo.running import Demo, within

StartDemo = Callable[..., Demo]


@pytest.mark.slow
def test_sigterm_in_the_middle_leaves_nothing(start_demo: StartDemo, tmp_path: Path) -> None:
    demo = start_demo("--once")
    demo.wait_for("The police bot is stopped", 90)
    assert len(demo.processes()) > 6
    demo.process.send_signal(signal.SIGTERM)
    assert demo.wait(10) == 143
    assert demo.processes() == {}
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in demo.output
    assert "✗" not in demo.output


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.3, 0.6, 1.0, 1.5, 2.5, 4.0, 6.0])
def test_ctrl_c_while_it_starts_leaves_nothing(start_demo: StartDemo, after: float) -> None:
    demo = start_demo("--once")
    within(after, lambda: False)
    demo.process.send_signal(signal.SIGINT)
    assert demo.wait(10) == 130, demo.output
    assert demo.processes() == {}
    assert "Traceback" not in demo.output


@pytest.mark.slow
def test_killed_it_takes_all_along(start_demo: StartDemo) -> None:
    demo = start_demo("--once")
    demo.wait_for("The police bot is stopped", 90)
    demo.process.kill()
    assert within(10, lambda: demo.processes() == {}), demo.processes()


def test_a_port_in_use_is_one_line(start_demo: StartDemo, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        demo = start_demo(DMR_DATA_DIR=str(tmp_path / "data"), DMR_PORT=str(port))
        assert demo.wait(10) == 1
    assert demo.output.count("\n") == 1
    assert f"Cannot listen on 127.0.0.1:{port}" in demo.output
    assert "set DMR_PORT" in demo.output


def test_a_server_that_does_not_start_is_one_line(start_demo: StartDemo, tmp_path: Path) -> None:
    demo = start_demo(DMR_DATA_DIR=str(tmp_path / "data"), DMR_PORT="29876", DATABASE_URL="mysql://nowhere/dmr")
    assert demo.wait(30) == 1
    assert "DATABASE_URL: " in demo.output.splitlines()[-1]
    assert "Traceback" not in demo.output
    assert demo.processes() == {}


def test_production_is_refused(start_demo: StartDemo) -> None:
    demo = start_demo("--once", DMR_ENV="production")
    assert demo.wait(10) == 1
    assert demo.output.count("\n") == 1

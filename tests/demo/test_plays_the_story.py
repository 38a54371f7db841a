"""`script/demo`: the whole play, on real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.login import Login
from demo.place import free_port
from tests.demo.running import Demo, within

StartDemo = Callable[..., Demo]
STORY_SECONDS = 240  # 75 s on two idle cores, but the machine may be busy with other tests


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_once_plays_checks_and_cleans_up(start_demo: StartDemo, tmp_path: Path) -> None:
    demo = start_demo("--once")
    assert demo.wait(STORY_SECONDS) == 0, demo.output
    assert demo.processes() == {}
    assert list(tmp_path.iterdir()) == []
    output = demo.output
    assert "✗" not in output
    assert "\x1b" not in output  # no terminal, no colour
    steps = [line for line in output.splitlines() if "✓" in line]
    assert len(steps) >= 30
    assert all(re.match(r" *\d+\.\d s  ✓ .+ \(\d+\.\d s\)$", line) for line in steps), steps
    assert re.search(r"The question was delivered at attempt \d", output), output
    for text in (
        "Tell the Police and Border Guard Board at once",
        "esitada 15. veebruarist",
        "the recipient refused the connection. State: pending",
        "Transport Agency would know, but it has no chatbot in our network yet",
        "Questions: 5 asked, 4 answered, 1 told why not.",
        "tax-board 1.0.0 ok, police 1.0.0 ok, education 1.0.0 ok.",
        "author tried first, in vain: 1.1.0 was written by author: somebody else must approve it.",
        "The rollout of 1.1.0 runs, for 3 Instance(s) in waves of 1, 2.",
        "installed 1.1.0 and is well; the others still run what they ran.",
        "tax-board 1.1.0 ok, police 1.1.0 ok, education 1.1.0 ok.",
        "1.1.0 finished: 3 succeeded.",
        "/healthz answers 503",
        "runs 1.1.0 again, and is well.",
        "1.2.0 paused (1 failed, 0 may; ",
        "1.2.0 is withdrawn.",
        "education is late",
        "education of Education Agency is down: its agent is silent.",
    ):
        assert text in " ".join(output.split()), output


@pytest.mark.slow
@pytest.mark.timeout(590)
def test_stays_up_and_takes_its_own_data_over_again(start_demo: StartDemo, tmp_path: Path) -> None:
    data, port = tmp_path / "data", free_port()
    environment = {"DMR_DATA_DIR": str(data), "DMR_PORT": str(port)}
    for run in range(2):
        demo = start_demo(**environment)
        demo.wait_for("Press Ctrl-C to stop.", STORY_SECONDS)
        shown = re.search(r"Admin:  (\S+)/admin/  as (\S+) with the password (\S+)", demo.output)
        assert shown, demo.output
        assert Login(shown[2], shown[3]).works(shown[1])
        for role in ("author", "approver"):
            person = re.search(rf"also as ({role}) with the password (\S+),", demo.output)
            assert person, demo.output
            assert Login(person[1], person[2]).works(shown[1])
        assert ("taken over" in demo.output) is (run == 1), demo.output
        version = ("1.1.0", "1.3.0")[run]
        assert f"{version} finished: 3 succeeded" in demo.output
        asked = re.search(r"curl (\S+)/ask", demo.output)
        assert asked, demo.output
        with urllib.request.urlopen(f"{asked[1]}/healthz", timeout=5) as answer:
            assert json.load(answer)["version"] == version
        assert not [command for command in demo.processes().values() if "education" in command]
        for secret in [data / "demo" / "login.json", *(data / "demo").glob("*/api-key")]:
            assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        # What a run finds is not always whole.
        (data / "demo" / "police" / "api-key").unlink()
        (data / "demo" / "login.json").unlink()
        demo.process.send_signal(signal.SIGINT)
        assert demo.wait(10) == 130, demo.output
        assert demo.processes() == {}
        assert "Traceback" not in demo.output


@pytest.mark.slow
@pytest.mark.timeout(590)
def test_a_run_after_one_that_was_killed_in_a_rollout(start_demo: StartDemo, tmp_path: Path) -> None:
    environment = {"DMR_DATA_DIR": str(tmp_path / "data"), "DMR_PORT": str(free_port())}
    demo = start_demo(**environment)
    demo.wait_for("/healthz answers 503", STORY_SECONDS)
    demo.process.kill()
    assert within(10, lambda: demo.processes() == {}), demo.processes()
    (tmp_path / "data" / "demo" / "core" / "author.key").unlink()
    demo = start_demo(**environment)
    demo.wait_for("Press Ctrl-C to stop.", STORY_SECONDS)
    assert "1.3.0 finished: 3 succeeded" in demo.output
    assert "1.4.0 is withdrawn." in demo.output


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_process_that_ends_is_started_again(start_demo: StartDemo, tmp_path: Path) -> None:
    demo = start_demo(DMR_DATA_DIR=str(tmp_path / "data"), DMR_PORT=str(free_port()))
    demo.wait_for("Press Ctrl-C to stop.", STORY_SECONDS)
    for mark, name in (
        ("--name police", "Police and Border Guard"),
        ("police/agent.toml", "The agent of Police and Border Guard"),
    ):
        (found,) = (pid for pid, command in demo.processes().items() if mark in command)
        os.kill(found, signal.SIGKILL)
        demo.wait_for(f"\n{name}'s process ended; starting it again", 5)

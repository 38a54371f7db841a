"""`kill -9` of the agent before, during and after the installer; SIGTERM; an installer that hangs."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from .fakes import FakeServer, Instance, eventually, manifest


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_killed_before_the_installer_it_installs(instance: Instance, server: FakeServer) -> None:
    server.answers["report"] = (503, {}, b"")
    instance.offer(manifest("1.1.0", 11))
    instance.kill_agent_when(lambda: instance.journal_state == "accepted")
    assert instance.lines("installs") == []
    del server.answers["report"]
    assert instance.agent().returncode == 0
    assert server.states == ["accepted", "installing", "verifying", "succeeded"]
    assert instance.lines("installs") == ["1.1.0"]


def test_killed_before_the_installer_and_started_after_the_deadline_it_gives_up(
    instance: Instance, server: FakeServer
) -> None:
    server.answers["report"] = (503, {}, b"")
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3))
    instance.offer(manifest("1.1.0", 11), deadline=soon)
    instance.kill_agent_when(lambda: instance.journal_state == "accepted")
    del server.answers["report"]
    time.sleep(3)
    assert instance.agent().returncode == 1
    assert server.states == ["accepted", "failed"]
    assert instance.lines("installs") == []


def test_killed_during_the_installer_it_ends_the_orphan_and_undoes(instance: Instance, server: FakeServer) -> None:
    instance.script("install", "echo $$ >pid; sleep 60 & echo $! >child; wait; echo bad >version")
    instance.offer(manifest("1.1.0", 11))
    child = instance.folder / "child"
    instance.kill_agent_when(lambda: child.exists() and child.read_text().strip())
    pids = [int((instance.folder / name).read_text()) for name in ("pid", "child")]
    assert all(is_alive(pid) for pid in pids)
    assert instance.journal_state == "installing"
    assert instance.agent().returncode == 1
    assert not any(is_alive(pid) for pid in pids)
    assert server.states == ["accepted", "installing", "rolled_back"]
    assert "interrupted" in server.last["detail"]
    assert instance.lines("undos") == ["1.0.0"]
    assert instance.version == "1.0.0"


def test_what_a_dead_installer_left_behind_is_ended_too(instance: Instance, server: FakeServer) -> None:
    instance.script("install", "echo $$ >pid; sleep 60 & echo $! >child; wait")
    instance.offer(manifest("1.1.0", 11))
    child = instance.folder / "child"
    instance.kill_agent_when(lambda: child.exists() and child.read_text().strip())
    os.kill(int((instance.folder / "pid").read_text()), signal.SIGKILL)
    assert is_alive(int(child.read_text()))
    instance.agent()
    assert not is_alive(int(child.read_text()))
    assert server.last["state"] == "rolled_back"


def test_a_process_that_took_over_the_installers_id_is_left_alone(instance: Instance, server: FakeServer) -> None:
    instance.script("install", "echo $$ >pid; exec sleep 60")
    instance.offer(manifest("1.1.0", 11))
    pid_file = instance.folder / "pid"
    instance.kill_agent_when(lambda: pid_file.exists() and pid_file.read_text().strip())
    journal = instance.folder / "state" / "journal.json"
    started = f'"started": {instance.journal["installation"]["process"]["started"]}'
    journal.write_text(journal.read_text().replace(started, '"started": 1'))
    pid = int(pid_file.read_text())
    try:
        instance.agent()
        assert server.last["state"] == "rolled_back"
        assert is_alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_killed_while_verifying_it_verifies_again(instance: Instance, server: FakeServer) -> None:
    instance.settings["soak_seconds"] = 1
    instance.offer(manifest("1.1.0", 11))
    instance.kill_agent_when(lambda: "verifying" in server.states)
    assert instance.journal_state == "verifying"
    assert instance.agent().returncode == 0
    assert server.states == ["accepted", "installing", "verifying", "succeeded"]
    assert instance.lines("installs") == ["1.1.0"]


def test_killed_while_verifying_a_bad_release_it_undoes(instance: Instance, server: FakeServer) -> None:
    instance.settings["soak_seconds"] = 20
    instance.offer(manifest("1.2.0", 12))
    instance.kill_agent_when(lambda: "verifying" in server.states)
    (instance.folder / "broken-1.2.0").touch()
    instance.agent()
    assert server.last["state"] == "rolled_back"
    assert instance.version == "1.0.0"


def test_killed_while_undoing_it_undoes_again(instance: Instance, server: FakeServer) -> None:
    instance.script("install", "exit 1")
    instance.script("undo", "echo run >>undos; [ -e quick ] || { touch slow; exec sleep 60; }")
    instance.offer(manifest("1.1.0", 11))
    instance.kill_agent_when(lambda: instance.lines("undos") and (instance.folder / "slow").exists())
    assert instance.journal_state == "undoing"
    (instance.folder / "quick").touch()
    instance.agent()
    assert instance.lines("undos") == ["run", "run"]
    assert server.last["state"] == "rolled_back"
    assert "status 1" in server.last["detail"]


def test_killed_before_the_last_report_was_sent_it_sends_it(instance: Instance, server: FakeServer) -> None:
    instance.offer(manifest("1.1.0", 11))
    server.report_statuses["succeeded"] = 503
    instance.kill_agent_when(lambda: "succeeded" in server.states)
    server.report_statuses.clear()
    assert instance.agent().returncode == 0
    assert server.reports[-1] == server.reports[-2]
    assert instance.lines("installs") == ["1.1.0"]


@pytest.mark.parametrize("pause", [0.0, 0.3, 0.6, 0.9, 1.2, 1.5])
def test_killed_at_any_moment_it_comes_to_an_end(instance: Instance, server: FakeServer, pause: float) -> None:
    (instance.folder / "slow").write_text("0.3")
    instance.offer(manifest("1.1.0", 11))
    with instance.running() as process:
        eventually(lambda: server.check_ins)
        time.sleep(pause)
        process.kill()
    instance.agent()
    assert server.last["state"] in ("succeeded", "rolled_back")
    assert instance.version == {"succeeded": "1.1.0", "rolled_back": "1.0.0"}[server.last["state"]]
    assert instance.lines("installs") == ["1.1.0"]


def test_an_installer_that_hangs_is_ended_with_its_children(instance: Instance, server: FakeServer) -> None:
    instance.settings["install_timeout_seconds"] = 0.5
    instance.script("install", "trap '' TERM; sleep 60 & echo $! >child; wait; sleep 60")
    instance.offer(manifest("1.1.0", 11))
    began = time.monotonic()
    assert instance.agent().returncode == 1
    assert time.monotonic() - began < 15
    assert server.last["state"] == "rolled_back"
    assert "took longer than 0.5 s" in server.last["detail"]
    assert not is_alive(int((instance.folder / "child").read_text()))


def test_sigterm_ends_an_idle_agent(instance: Instance, server: FakeServer) -> None:
    began = time.monotonic()
    assert instance.kill_agent_when(lambda: server.check_ins, signal.SIGTERM) == 0
    assert time.monotonic() - began < 10


def test_sigterm_during_the_installer_ends_both_and_the_next_start_undoes(
    instance: Instance, server: FakeServer
) -> None:
    instance.script("install", "echo $$ >pid; exec sleep 60")
    instance.offer(manifest("1.1.0", 11))
    pid = instance.folder / "pid"
    assert instance.kill_agent_when(lambda: pid.exists() and pid.read_text().strip(), signal.SIGTERM) == 0
    assert not is_alive(int(pid.read_text()))
    assert instance.journal_state == "installing"
    instance.agent()
    assert server.last["state"] == "rolled_back"


def test_sigterm_while_a_server_keeps_silent_ends_quickly(instance: Instance, server: FakeServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        instance.settings["server"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with instance.running() as process:
            connection, _ = silent.accept()
            began = time.monotonic()
            process.terminate()
            assert process.wait(10) == 0
            assert time.monotonic() - began < 3
            connection.close()

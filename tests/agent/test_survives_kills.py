"""`kill -9` of the agent before, during and after the installer; SIGTERM; an installer that hangs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from dmr_agent import process

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


def test_a_group_without_its_leader_is_known_by_its_mark(tmp_path: Path) -> None:
    argv = ["sh", "-c", "sleep 60 & echo $! >child"]
    paths = {"input_path": tmp_path / "input", "log_path": tmp_path / "log"}
    paths["input_path"].touch()
    command = process.Command(argv, folder=tmp_path, environment={}, **paths)
    command.open_gate()
    eventually(lambda: command.poll() is not None)
    child = int((tmp_path / "child").read_text())
    assert process.members(replace(command.identity, token="another")) == []
    assert process.members(command.identity) == [child]
    assert process.stop(command.identity)
    assert not is_alive(child)
    command.close()


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
    before = len(server.reports)
    assert instance.agent().returncode == 0
    assert [report["state"] for report in server.reports[before:]] == ["succeeded"]
    assert server.reports[-1] == server.reports[-2]
    assert instance.lines("installs") == ["1.1.0"]


# Runs `dmr-agent once`, and kills it right before or right after the journal is saved for the nth time.
KILLED = """
import os, signal, sys
from dmr_agent import cli, journal

moment, count, config = sys.argv[1], int(sys.argv[2]), sys.argv[3]
replace, saves = journal._replace, 0

def replace_or_die(path, content):
    global saves
    saves += 1
    if saves == count and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    replace(path, content)
    if saves == count:
        os.kill(os.getpid(), signal.SIGKILL)

journal._replace = replace_or_die
sys.exit(cli.main(["once", "--config", config]))
"""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("count", range(1, 15))
def test_killed_at_any_save_of_the_journal_it_comes_to_an_end(
    instance: Instance, server: FakeServer, moment: str, count: int
) -> None:
    server.next_check_in = 3600
    instance.offer(manifest("1.1.0", 11))
    config = str(instance.write_config())
    killed = subprocess.run([sys.executable, "-c", KILLED, moment, str(count), config], stderr=subprocess.DEVNULL)
    assert killed.returncode in (0, -signal.SIGKILL)
    instance.agent()
    assert server.last["state"] in ("succeeded", "rolled_back")
    assert instance.version == {"succeeded": "1.1.0", "rolled_back": "1.0.0"}[server.last["state"]]
    assert len(instance.lines("installs")) <= 1
    assert instance.journal["installation"] is None
    assert instance.journal["outbox"] == []
    numbers = {report["sequence"]: report for report in server.reports}
    assert all(numbers[report["sequence"]] == report for report in server.reports)


def test_a_command_whose_agent_dies_before_the_journal_knows_it_never_runs(tmp_path: Path) -> None:
    program = """
import os, pathlib, signal, sys
from dmr_agent.process import Command
folder = pathlib.Path(sys.argv[1])
(folder / "input").touch()
paths = {"input_path": folder / "input", "log_path": folder / "log"}
command = Command(["touch", "ran"], folder=folder, environment={}, **paths)
print(command.identity.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    result = subprocess.run([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    eventually(lambda: not is_alive(int(result.stdout)))
    assert not (tmp_path / "ran").exists()


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

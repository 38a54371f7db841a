"""The good way, the undo, and what reports tell."""

from __future__ import annotations

import json

import rfc8785

from .fakes import API_KEY, FakeServer, Instance, eventually, manifest


def test_a_release_is_installed_verified_and_reported(instance: Instance, server: FakeServer) -> None:
    wanted = manifest("1.1.0", 11)
    instance.offer(wanted)
    result = instance.agent()
    assert result.returncode == 0, result.stderr
    assert server.states == ["accepted", "installing", "verifying", "succeeded"]
    assert instance.version == "1.1.0"
    assert (instance.folder / "input").read_bytes() == rfc8785.dumps(wanted)
    assert [step["name"] for step in server.last["steps"]] == ["verify", "install", "health"]
    assert {step["state"] for step in server.last["steps"]} == {"succeeded"}
    assert all(set(step) == {"name", "state", "seconds"} for step in server.last["steps"])
    assert set(server.last) == {"target", "nonce", "sequence", "state", "detail", "steps"}
    assert API_KEY not in result.stderr


def test_sequence_counts_up_over_calls_and_restarts(instance: Instance, server: FakeServer) -> None:
    instance.offer(manifest("1.1.0", 11))
    instance.agent()
    instance.agent()
    numbers = [call["sequence"] for call in [*server.check_ins, *server.reports]]
    assert len(set(numbers)) == len(numbers)
    assert server.check_ins[-1]["sequence"] > server.last["sequence"] > server.check_ins[0]["sequence"]
    assert all(key == API_KEY for _, key in server.requests)


def test_check_in_tells_what_runs_and_how_it_is(instance: Instance, server: FakeServer) -> None:
    listed = [
        {"name": "bot", "version": "1.0.0", "digest": None, "health": "ok"},
        {"name": "db", "health": "green"},
    ]
    instance.settings["inventory"] = ["echo", json.dumps(listed)]
    instance.agent()
    said = server.check_ins[0]
    assert said["release"]["version"] == "1.0.0"
    assert said["release"]["manifestDigest"].startswith("sha256:")
    assert said["health"] == "ok"
    assert said["components"] == [
        listed[0],
        {"name": "db", "version": None, "digest": None, "health": "degraded"},
    ]
    assert set(said["measures"]) == {"uptimeSeconds", "load1", "memoryUsedBytes", "diskFreeBytes"}
    assert said["measures"]["diskFreeBytes"] > 0
    (instance.folder / "broken").touch()
    instance.agent()
    assert server.check_ins[1]["health"] == "down"


def test_without_an_initial_manifest_the_release_is_null(instance: Instance, server: FakeServer) -> None:
    instance.settings["initial_manifest"] = None
    instance.agent()
    assert server.check_ins[0]["release"] is None
    assert server.check_ins[0]["components"] == []


def test_an_unhealthy_release_is_undone(instance: Instance, server: FakeServer) -> None:
    (instance.folder / "broken-1.2.0").touch()
    instance.offer(manifest("1.2.0", 12))
    assert instance.agent().returncode == 1
    assert server.states == ["accepted", "installing", "verifying", "rolled_back"]
    assert "not healthy" in server.last["detail"]
    assert instance.version == "1.0.0"
    assert json.loads((instance.folder / "undo-input").read_text())["version"] == "1.0.0"
    assert [(step["name"], step["state"]) for step in server.last["steps"]] == [
        ("verify", "succeeded"),
        ("install", "succeeded"),
        ("health", "failed"),
        ("undo", "succeeded"),
        ("health_after_undo", "succeeded"),
    ]


def test_a_release_that_falls_ill_while_it_soaks_is_undone(instance: Instance, server: FakeServer) -> None:
    instance.settings["soak_seconds"] = 20
    instance.offer(manifest("1.2.0", 12))
    with instance.running():
        eventually(lambda: "verifying" in server.states)
        (instance.folder / "broken-1.2.0").touch()
        eventually(lambda: "rolled_back" in server.states)
    assert instance.version == "1.0.0"


def test_a_release_may_take_the_grace_to_become_healthy(instance: Instance, server: FakeServer) -> None:
    instance.settings["start_grace_seconds"] = 20
    (instance.folder / "broken-1.1.0").touch()
    instance.offer(manifest("1.1.0", 11))
    with instance.running():
        eventually(lambda: "verifying" in server.states)
        (instance.folder / "broken-1.1.0").unlink()
        eventually(lambda: "succeeded" in server.states)


def test_an_installer_that_fails_is_undone_and_its_last_line_told(instance: Instance, server: FakeServer) -> None:
    instance.script("install", "echo first; echo 'no space' >&2; exit 7")
    instance.offer(manifest("1.1.0", 11))
    assert instance.agent().returncode == 1
    assert server.last["state"] == "rolled_back"
    assert server.last["detail"] == "the install command ended with status 7: no space"
    assert "verifying" not in server.states


def test_an_installer_that_is_missing_is_undone(instance: Instance, server: FakeServer) -> None:
    instance.settings["install"] = "./nowhere"
    instance.offer(manifest("1.1.0", 11))
    instance.agent()
    assert server.last["state"] == "rolled_back"
    assert "127" in server.last["detail"]


def test_an_undo_that_fails_is_told_and_the_release_is_unknown_then(instance: Instance, server: FakeServer) -> None:
    instance.script("install", "exit 1")
    instance.script("undo", "exit 2")
    instance.offer(manifest("1.1.0", 11))
    assert instance.agent().returncode == 1
    assert server.last["state"] == "failed"
    assert "the undo failed: the undo command ended with status 2" in server.last["detail"]
    instance.agent()
    assert server.check_ins[-1]["release"] is None


def test_an_instance_that_stays_ill_after_the_undo_is_told(instance: Instance, server: FakeServer) -> None:
    instance.script("install", "touch broken")
    instance.offer(manifest("1.1.0", 11))
    instance.agent()
    assert server.last["state"] == "failed"
    assert server.last["steps"][-1]["name"] == "health_after_undo"
    assert server.last["steps"][-1]["state"] == "failed"


def test_without_a_known_previous_release_undo_gets_null(instance: Instance, server: FakeServer) -> None:
    instance.settings["initial_manifest"] = None
    instance.script("install", "exit 1")
    instance.offer(manifest("1.1.0", 11))
    instance.agent()
    assert server.last["state"] == "rolled_back"
    assert (instance.folder / "undo-input").read_text() == "null"


def test_the_release_that_is_installed_is_verified_without_the_installer(
    instance: Instance, server: FakeServer
) -> None:
    instance.offer(manifest("1.0.0", 10))
    assert instance.agent().returncode == 0
    assert server.states == ["accepted", "installing", "verifying", "succeeded"]
    assert instance.lines("installs") == []
    (instance.folder / "broken").touch()
    instance.offer(manifest("1.0.0", 10), nonce="nonce-2")
    assert instance.agent().returncode == 1
    assert server.last["state"] == "failed"
    assert instance.lines("undos") == []


def test_check_ins_go_on_while_it_installs_and_soaks(instance: Instance, server: FakeServer) -> None:
    (instance.folder / "slow").write_text("2.5")
    instance.offer(manifest("1.1.0", 11))
    with instance.running():
        eventually(lambda: "installing" in server.states)
        before = len(server.check_ins)
        eventually(lambda: len(server.check_ins) > before)
        assert instance.version == "1.0.0"
        eventually(lambda: "succeeded" in server.states)
    assert instance.lines("installs") == ["1.1.0"]


def test_after_an_installation_the_next_check_in_comes_at_once(instance: Instance, server: FakeServer) -> None:
    server.next_check_in = 3600
    instance.offer(manifest("1.1.0", 11))
    with instance.running():
        eventually(lambda: len(server.check_ins) == 2)
    assert server.check_ins[1]["release"]["version"] == "1.1.0"


def test_endless_output_of_an_installer_is_cut(instance: Instance, server: FakeServer) -> None:
    instance.settings["install_timeout_seconds"] = 1
    instance.script("install", "while :; do head -c 1000000 /dev/zero; sleep 0.01; done")
    instance.offer(manifest("1.1.0", 11))
    instance.agent()
    assert server.last["state"] == "rolled_back"
    assert (instance.folder / "state" / "install.log").stat().st_size < 50 << 20

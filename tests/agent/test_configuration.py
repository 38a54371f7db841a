"""The TOML file: what is refused, by name, in one line, with exit code 2; and the codes 3 and 4."""

from __future__ import annotations

from typing import Any

import pytest

from .fakes import FakeServer, Instance, eventually, public


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("sever", "x", "unknown key: sever"),
        ("server", None, "missing key: server"),
        ("server", "ftp://example.ee", "server must be an http or https URL"),
        ("server", "https://user:pass@example.ee", "without credentials"),
        ("server", "https://example.ee/?a=1", "without a query"),
        ("server", 1, "server must be a text"),
        ("api_key_file", "nowhere", "can't read the API key"),
        ("trusted_keys", "x", "trusted_keys must be a list"),
        ("trusted_keys", ["nowhere.pub", "b"], "can't read the public key"),
        ("trusted_keys", [], "trusted_keys has 0 different keys"),
        ("threshold", 1, "threshold must be at least 2"),
        ("threshold", True, "threshold must be at least 2"),
        ("threshold", 3, "threshold is 3, but trusted_keys has 2 different keys"),
        ("install", "", "install must be a command"),
        ("install", [], "install must be a command"),
        ("undo", "echo 'x", "undo is not a command"),
        ("health", ["a", 1], "health must be a command"),
        ("soak_seconds", "long", "soak_seconds must be a number of seconds"),
        ("soak_seconds", -1, "soak_seconds must be a number of seconds"),
        ("min_pause_seconds", 500, "min_pause_seconds is more than max_pause_seconds"),
        ("initial_manifest", "api-key", "initial_manifest: the manifest is not JSON"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(
    instance: Instance, server: FakeServer, key: str, value: Any, said: str
) -> None:
    instance.settings[key] = value
    result = instance.agent()
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert server.requests == []


def test_a_key_listed_twice_does_not_reach_the_threshold(instance: Instance) -> None:
    instance.settings["trusted_keys"] = [public(instance.staff[0])] * 2
    assert "has 1 different keys" in instance.agent().stderr


def test_trusted_keys_may_be_files(instance: Instance, server: FakeServer) -> None:
    (instance.folder / "a.pub").write_text(public(instance.staff[0]) + "\n")
    instance.settings["trusted_keys"] = ["a.pub", public(instance.staff[1])]
    assert instance.agent().returncode == 0


def test_an_api_key_that_everybody_can_read_is_warned_of(instance: Instance, server: FakeServer) -> None:
    (instance.folder / "api-key").chmod(0o644)
    result = instance.agent()
    assert result.returncode == 0
    assert "api_key_readable_by_everybody" in result.stderr


def test_an_api_key_that_is_rotated_is_used_at_once(instance: Instance, server: FakeServer) -> None:
    with instance.running():
        eventually(lambda: server.check_ins)
        (instance.folder / "api-key").write_text("another-key")
        eventually(lambda: server.requests[-1][1] == "another-key")


def test_two_agents_do_not_share_a_state_dir(instance: Instance, server: FakeServer) -> None:
    with instance.running():
        eventually(lambda: server.check_ins)
        result = instance.agent()
    assert result.returncode == 3
    assert "another dmr-agent uses" in result.stderr


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"schema": 2}', "\0"])
def test_a_damaged_journal_is_not_overwritten(instance: Instance, server: FakeServer, content: str) -> None:
    state = instance.folder / "state"
    state.mkdir()
    (state / "journal.json").write_text(content)
    result = instance.agent()
    assert result.returncode == 4
    assert "is damaged" in result.stderr
    assert (state / "journal.json").read_text() == content
    assert server.requests == []


def test_a_health_url_is_asked(instance: Instance, server: FakeServer) -> None:
    url = f"http://127.0.0.1:{server.port}{server.prefix}/api/v1/agent/healthz"
    instance.settings["health"] = url
    seen = []
    for status, body in ((200, b"fine"), (200, b'{"status": "degraded"}'), (503, b""), (302, b"")):
        server.answers["healthz"] = (status, {"Location": url}, body)
        instance.agent()
        seen.append(server.check_ins[-1]["health"])
    assert seen == ["ok", "degraded", "down", "down"]


def test_a_health_command_that_hangs_counts_as_down(instance: Instance, server: FakeServer) -> None:
    instance.settings.update(health="sleep 60", health_timeout_seconds=0.2)
    assert instance.agent().returncode == 0
    assert server.check_ins[0]["health"] == "down"

"""A server that is away, refuses, or talks nonsense: the Instance stays as it is, and nothing is lost."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest

from .fakes import API_KEY, FakeServer, Instance, eventually, manifest

OK = {"nextCheckInSeconds": 1, "offer": None}


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, {}, b"not json"),
        (200, {}, b""),
        (200, {}, b"[]"),
        (200, {}, b'{"offer": null, "offer": null}'),
        (200, {}, b"[" * 100_000),
        (200, {}, b'"\xff"'),
        (200, {}, b" " * (5 << 20) + b"{}"),
        (204, {}, b""),
        (401, {}, b'{"title": "unknown key"}'),
        (429, {}, b"{}"),
        (500, {}, b"{}"),
        (502, {"Content-Type": "text/html"}, b"<html>Bad Gateway</html>"),
    ],
)
def test_a_check_in_that_is_answered_wrongly_changes_nothing(
    instance: Instance, server: FakeServer, status: int, headers: dict[str, str], body: bytes
) -> None:
    server.answers["check-in"] = (status, headers, body)
    result = instance.agent()
    assert result.returncode == 1
    assert "server_away" in result.stderr
    assert "Traceback" not in result.stderr
    assert instance.version == "1.0.0"


def test_a_redirect_is_not_followed_and_the_key_stays_home(instance: Instance, server: FakeServer) -> None:
    other = FakeServer()
    try:
        server.answers["check-in"] = (307, {"Location": f"{other.url}/api/v1/agent/check-in"}, b"")
        result = instance.agent()
        assert result.returncode == 1
        assert other.requests == []
        assert API_KEY not in result.stderr
    finally:
        other.close()


@pytest.mark.parametrize("wish", [None, "soon", -5, 0, 1e12, True, [], 10**400])
def test_any_wish_for_the_next_check_in_is_survived(instance: Instance, server: FakeServer, wish: object) -> None:
    server.answers["check-in"] = (200, {}, json.dumps({"nextCheckInSeconds": wish}).encode())
    assert instance.agent().returncode == 0


def test_a_server_that_drips_is_cut_off(instance: Instance) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    connection.sendall(b"HTTP/1.1 200 OK\r\n")
                    for _ in range(600):
                        connection.sendall(b"X-A: b\r\n")
                        time.sleep(0.05)
                except OSError:
                    pass

        thread = threading.Thread(target=drip)
        thread.start()
        instance.settings["server"] = f"http://127.0.0.1:{listener.getsockname()[1]}"
        instance.settings["server_timeout_seconds"] = 0.5
        began = time.monotonic()
        assert instance.agent().returncode == 1
        assert time.monotonic() - began < 5
        thread.join()


def test_proxies_of_the_environment_are_not_used(
    instance: Instance, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert instance.agent().returncode == 0


def test_when_the_server_comes_back_the_agent_is_there(instance: Instance, server: FakeServer) -> None:
    server.is_up = False
    with instance.running() as process:
        eventually(lambda: len(server.requests) >= 4)
        assert process.poll() is None
        server.is_up = True
        instance.offer(manifest("1.1.0", 11))
        eventually(lambda: "succeeded" in server.states)


def test_a_server_away_in_the_middle_does_not_stop_the_installation(instance: Instance, server: FakeServer) -> None:
    instance.script("install", "touch started; while [ ! -e go ]; do sleep 0.02; done; echo 1.1.0 >version")
    instance.offer(manifest("1.1.0", 11))
    with instance.running():
        eventually(lambda: (instance.folder / "started").exists())
        server.is_up = False
        (instance.folder / "go").touch()
        eventually(lambda: instance.journal["installation"] is None)
        assert [report["state"] for report in instance.journal["outbox"]] == ["verifying", "succeeded"]
        server.is_up = True
        eventually(lambda: "succeeded" in server.states)
        calls = len(server.check_ins)
        eventually(lambda: len(server.check_ins) > calls)
    assert server.states == ["accepted", "installing", "verifying", "succeeded"]
    assert [report["sequence"] for report in server.reports] == sorted(
        report["sequence"] for report in server.reports
    )


def test_nothing_is_installed_before_the_server_knows_of_the_acceptance(
    instance: Instance, server: FakeServer
) -> None:
    server.answers["report"] = (503, {}, b"")
    server.next_check_in = 3600
    instance.offer(manifest("1.1.0", 11))
    with instance.running():
        eventually(lambda: sum(path.endswith("report") for path, _ in server.requests) >= 3)
        assert instance.lines("installs") == []
        del server.answers["report"]
        eventually(lambda: "succeeded" in server.states)
    assert instance.lines("installs") == ["1.1.0"]


@pytest.mark.parametrize("status", [404, 409])
def test_an_offer_whose_acceptance_is_refused_is_not_installed(
    instance: Instance, server: FakeServer, status: int
) -> None:
    server.report_statuses["accepted"] = status
    instance.offer(manifest("1.1.0", 11))
    result = instance.agent()
    assert "offer_withdrawn" in result.stderr
    assert server.states == ["accepted"]
    assert instance.lines("installs") == []
    assert instance.journal["installation"] is None
    assert instance.journal["outbox"] == []
    server.report_statuses.clear()
    instance.offer(manifest("1.1.0", 11))
    assert instance.agent().returncode == 0


def test_an_acceptance_that_comes_too_late_for_the_server_is_not_installed(
    instance: Instance, server: FakeServer
) -> None:
    server.answers["report"] = (202, {}, b'{"state": "timed_out"}')
    instance.offer(manifest("1.1.0", 11))
    result = instance.agent()
    assert "offer_withdrawn" in result.stderr
    assert instance.lines("installs") == []


@pytest.mark.parametrize("status", [404, 409])
def test_a_later_report_that_is_refused_is_dropped(instance: Instance, server: FakeServer, status: int) -> None:
    server.report_statuses["installing"] = status
    server.report_statuses["succeeded"] = status
    instance.offer(manifest("1.1.0", 11))
    result = instance.agent()
    assert result.stderr.count("report_refused") == 2
    assert server.states == ["accepted", "installing", "verifying", "succeeded"]
    assert instance.journal["outbox"] == []
    assert instance.version == "1.1.0"


def test_a_proxys_404_is_not_the_servers_word(instance: Instance, server: FakeServer) -> None:
    server.answers["report"] = (404, {}, b"<html>no such page</html>")
    instance.offer(manifest("1.1.0", 11))
    assert instance.agent().returncode == 1
    assert instance.journal_state == "accepted"


def test_what_the_server_says_can_not_forge_a_log_line(instance: Instance, server: FakeServer) -> None:
    server.answers["check-in"] = (
        401,
        {},
        json.dumps({"detail": "x\n2030-01-01T00:00:00Z INFO forged"}).encode(),
    )
    assert "\n2030" not in instance.agent().stderr

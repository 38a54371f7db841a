"""A fake DMR server, an Instance of files and shell scripts, and the agent's real process beside it.

The Instance is a folder: its installer and undo write the version they got into `version`, and it is healthy
unless there is a file `broken`, or `broken-VERSION` for the version that it runs. `installs` and `undos` get
a line a run.
"""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dmr_agent.cli import main
from dmr_agent.signatures import sign

API_KEY = "test-key-0123456789"
LONG = 30.0  # seconds that a test may wait for something that takes far less


def eventually(condition: Callable[[], Any], what: str = "it", seconds: float = LONG) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, f"{what} did not come true"
        time.sleep(0.02)
    return found


def manifest(version: str, number: int, **more: Any) -> dict[str, Any]:
    component = {
        "name": "bot",
        "image": f"example/bot:{version}",
        "digest": "sha256:" + "0" * 64,
        "settings": {},
    }
    return {
        "schema": 1,
        "version": version,
        "sequence": number,
        "severity": "mandatory",
        "requires": {"minVersion": "1.0.0"},
        "components": [component],
        "notes": {"et": "Uuendus", "en": "Update"},
        **more,
    }


def public(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


class FakeServer:
    """Answers check-ins with `offers`, each until something final is reported of it, and collects reports."""

    def __init__(self) -> None:
        self.check_ins: list[dict[str, Any]] = []
        self.reports: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str | None]] = []
        self.offers: list[dict[str, Any]] = []
        self.next_check_in: Any = 1
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}  # by the end of the path
        self.report_statuses: dict[str, int] = {}  # by the reported state
        self.is_up = True
        self.prefix = "/dmr"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.requests.append((self.path, self.headers.get("X-Api-Key")))
                status, headers, content = outer.answer(self.path, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass  # a client that was killed in the middle

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        name = path.rpartition("/")[2]
        if not self.is_up:
            return 503, {}, b"<html>upstream</html>"
        if path != f"{self.prefix}/api/v1/agent/{name}":
            return 404, {}, b"<html>no such page</html>"
        if name in self.answers:
            return self.answers[name]
        said = json.loads(body)
        if name == "check-in":
            self.check_ins.append(said)
            offer = self.offers[0] if self.offers else None
            return 200, {}, json.dumps({"nextCheckInSeconds": self.next_check_in, "offer": offer}).encode()
        self.reports.append(said)
        status = self.report_statuses.get(said["state"], 202)
        if status != 202 or said["state"] in ("succeeded", "failed", "rolled_back"):
            self.offers = [o for o in self.offers if (o["target"], o["nonce"]) != (said["target"], said["nonce"])]
        content = {"state": said["state"]} if status == 202 else {"title": "no", "status": status}
        return status, {}, json.dumps(content).encode()

    @property
    def states(self) -> list[str]:
        """What was reported, in order; a report sent again (same sequence) once."""
        return [state for state, _ in dict.fromkeys((report["state"], report["sequence"]) for report in self.reports)]

    @property
    def last(self) -> dict[str, Any]:
        return self.reports[-1]


@dataclass
class Outcome:
    returncode: int
    stderr: str


class Instance:
    """The folder of an Instance, its agent's configuration, and two staff keys that the agent trusts."""

    def __init__(self, folder: Path, server: FakeServer) -> None:
        self.folder, self.server = folder, server
        self.staff = [Ed25519PrivateKey.generate() for _ in range(3)]
        (folder / "api-key").write_text(API_KEY + "\n")
        (folder / "api-key").chmod(0o600)
        (folder / "version").write_text("1.0.0")
        (folder / "initial.json").write_text(json.dumps(manifest("1.0.0", 10)))
        self._script(
            "install", 'echo "$DMR_VERSION" >>installs; cat >input; sleep "$(cat slow 2>/dev/null || echo 0)"'
        )
        self._script("undo", 'echo "$DMR_PREVIOUS_VERSION" >>undos; cat >undo-input', "$DMR_PREVIOUS_VERSION")
        self._script("health", '[ ! -e broken ] && [ ! -e "broken-$(cat version)" ]', None)
        self.settings: dict[str, Any] = {
            "server": server.url,
            "api_key_file": "api-key",
            "trusted_keys": [public(key) for key in self.staff[:2]],
            "state_dir": "state",
            "install": "./install",
            "undo": "./undo",
            "health": ["./health"],
            "initial_manifest": "initial.json",
            "soak_seconds": 0.2,
            "start_grace_seconds": 0.2,
            "health_interval_seconds": 0.05,
            "min_pause_seconds": 0.1,
            "max_pause_seconds": 0.4,
        }

    def _script(self, name: str, text: str, version: str | None = "$DMR_VERSION") -> None:
        last = f'printf %s "{version}" >version.new && mv version.new version' if version else ""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{text}\n{last}\n")
        path.chmod(0o755)

    def script(self, name: str, text: str) -> None:
        self._script(name, text, None)

    def write_config(self) -> Path:
        path = self.folder / "agent.toml"
        lines = [f"{key} = {json.dumps(value)}" for key, value in self.settings.items() if value is not None]
        path.write_text("\n".join(lines) + "\n")
        return path

    def offer(self, content: Any, signers: list[int] | None = None, **more: Any) -> dict[str, Any]:
        """Put an offer of a manifest on the server, signed by the staff with these numbers."""
        raw = content if isinstance(content, bytes) else rfc8785.dumps(content)
        value = {
            "target": f"target-{len(self.server.offers)}",
            "version": json.loads(raw)["version"],
            "severity": "mandatory",
            "manifest": base64.b64encode(raw).decode(),
            "signatures": [sign(raw, self.staff[number]) for number in (signers or [0, 1])],
            "deadline": (datetime.now(timezone.utc) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "nonce": "nonce-1",
            **more,
        }
        self.server.offers.append(value)
        return value

    def agent(self) -> Outcome:
        """`dmr-agent once` to its end, within this process: starting another would cost more than most tests."""
        said = io.StringIO()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            with redirect_stderr(said):
                status = main(["once", "--config", str(self.write_config())])
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return Outcome(status, said.getvalue())

    @contextmanager
    def running(self, command: str = "run") -> Iterator[subprocess.Popen[bytes]]:
        """`dmr-agent run` as a process; ended with SIGKILL if the test has not ended it."""
        with (self.folder / "agent.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dmr_agent", command, "--config", str(self.write_config())],
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def kill_agent_when(self, condition: Callable[[], Any], number: int = signal.SIGKILL) -> int:
        """Start the agent, signal it as soon as the condition holds; returns its exit status."""
        with self.running() as process:
            eventually(condition, "the moment to kill")
            os.kill(process.pid, number)
            return process.wait(LONG)

    @property
    def journal(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / "state" / "journal.json").read_text()))
        except FileNotFoundError:
            return {}

    @property
    def journal_state(self) -> str | None:
        installation = self.journal.get("installation")
        return installation["state"] if installation else None

    @property
    def version(self) -> str:
        return (self.folder / "version").read_text()

    def lines(self, name: str) -> list[str]:
        try:
            return (self.folder / name).read_text().split()
        except FileNotFoundError:
            return []

"""Runs the OpenID Connect provider of oidc_provider.py, and talks to it as its network neighbours do."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.staff import oidc_provider


@contextmanager
def running() -> Iterator[Process]:
    program = [sys.executable, str(Path(oidc_provider.__file__))]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield Process(process.stdout.readline().strip())
        process.stdin.close()
        assert process.wait(10) == 0


class Process:
    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.place = urlsplit(issuer)

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, str, Any]:
        """Status, Location, and what it says."""
        connection = http.client.HTTPConnection(self.place.netloc, timeout=10)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, answer.getheader("Location", ""), json.loads(answer.read())
        finally:
            connection.close()

    def tell(self, **told: Any) -> None:
        assert self.call("POST", "/realms/core/control", told)[0] == 200

    def calls(self) -> list[str]:
        found: list[str] = self.call("GET", "/realms/core/calls")[2]
        return found

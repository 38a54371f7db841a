"""The product, as a child process: what `script/server` runs."""

from __future__ import annotations

import re
import sys
import time

from demo.children import Child
from demo.errors import DemoError
from demo.http_call import Answer, Unreachable, call
from demo.place import Place

UP_SECONDS = 90
LAST_LINES = 20


class Product:
    def __init__(self, place: Place) -> None:
        self.place = place
        command = [sys.executable, "-m", "dmr_project.server"]
        self.child = Child("the server", command, place.folder / "server.log", place.environment)

    def start(self) -> None:
        """Returns once our own server, and no other on that port, answers and is ready. Raises DemoError."""
        self.child.start()
        deadline = time.monotonic() + UP_SECONDS
        while not self._is_ready():
            if not self.child.is_running:
                raise DemoError(self._last_words())
            if time.monotonic() > deadline:
                log = self.child.log
                raise DemoError(f"The server did not come up within {UP_SECONDS} s; its log is {log}.")
            time.sleep(0.1)

    def get(self, path: str) -> Answer:
        """Raises Unreachable."""
        return call("GET", f"{self.place.url}{path}")

    def counter(self, name: str, **labels: str) -> float:
        """A counter of `/metrics`, added up over the labels that aren't given. Raises Unreachable."""
        total = 0.0
        for line in self.get("/metrics").body.decode().splitlines():
            match = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if match and all(f'{label}="{value}"' in (match[1] or "") for label, value in labels.items()):
                total += float(match[2])
        return total

    def _is_ready(self) -> bool:
        try:
            # With our key, which another server on this port would not know.
            answer = call(
                "GET", f"{self.place.url}/centops/admin/institutions", {"X-Api-Key": self.place.staff_key}, seconds=2
            )
            return answer.status == 200 and self.get("/readyz").status == 200
        except Unreachable:
            return False

    def _last_words(self) -> str:
        lines = [line.strip() for line in self.child.last_lines(LAST_LINES) if line.strip()]
        return f"The server ended at once: {lines[-1] if lines else 'it said nothing'} (its log: {self.child.log})"

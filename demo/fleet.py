"""How Core sees the Instances: `GET /api/v1/observability/targets` with the staff key, as Prometheus reads it."""

from __future__ import annotations

from dataclasses import dataclass

from demo.errors import Unexpected
from demo.http_call import call

OK, LATE, SILENT = "ok", "late", "silent"


@dataclass(frozen=True)
class Seen:
    """`state`: never_heard, ok, degraded, down, late, silent."""

    state: str
    version: str

    def __str__(self) -> str:
        return f"{self.version or 'unknown'} {self.state}"


class Fleet:
    def __init__(self, url: str, staff_key: str) -> None:
        self.url = f"{url}/api/v1/observability/targets"
        self._headers = {"X-Api-Key": staff_key}

    def look(self) -> dict[str, Seen]:
        """By name. Raises Unexpected, Unreachable."""
        answer = call("GET", self.url, self._headers)
        if answer.status != 200:
            raise Unexpected(f"200 from GET {self.url}", str(answer))
        every = [each["labels"] for each in answer.json()]
        return {
            labels["participant"]: Seen(labels["__meta_dmr_health"], labels["__meta_dmr_version"]) for labels in every
        }

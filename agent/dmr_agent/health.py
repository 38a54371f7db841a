"""Is the Instance well? Asked of a URL or a command.

ok        a 2xx answer; exit status 0
degraded  the same, but the answer (a JSON object) says `"status": "degraded"`
down      anything else, silence included; also a JSON answer that says `"status": "down"`
"""

from __future__ import annotations

from dataclasses import dataclass

from dmr_agent import canonical, http_call, local_call
from dmr_agent.config import Config

ANSWER_LIMIT = 1 << 20  # bytes


@dataclass(frozen=True)
class Health:
    state: str  # ok degraded down
    detail: str  # for people; empty when ok

    @property
    def is_ok(self) -> bool:
        return self.state == "ok"


def check(settings: Config) -> Health:
    """Ask now; takes `health_timeout_seconds` at most (twice that over HTTP)."""
    timeout = settings.health_timeout_seconds
    try:
        if isinstance(settings.health, str):
            found = http_call.call("GET", settings.health, timeout=timeout, limit=ANSWER_LIMIT)
            is_well, said, body = 200 <= found.status < 300, f"answered {found.status}", found.body
        else:
            status, body = local_call.call(settings.health, folder=settings.folder, timeout=timeout)
            is_well, said = status == 0, f"exit status {status}"
    except (http_call.CallFailed, local_call.NoAnswer) as error:
        return Health("down", str(error))
    if not is_well:
        return Health("down", said)
    stated = _stated(body)
    return Health(stated, "" if stated == "ok" else f"it says {stated}")


def _stated(body: bytes) -> str:
    try:
        content = canonical.loads(body)
    except canonical.NotJson:
        return "ok"
    status = content.get("status") if isinstance(content, dict) else None
    return status if status in ("degraded", "down") else "ok"

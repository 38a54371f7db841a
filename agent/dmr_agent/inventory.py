"""The components of the stack as the Instance's own `inventory` command lists them.

It prints a JSON list of `{"name", "version", "digest", "health": "ok|degraded|down"}`; the name is needed.
A component whose health is missing or another word counts as degraded, so that somebody looks.
"""

from __future__ import annotations

from typing import Any

from dmr_agent import canonical, local_call, log
from dmr_agent.config import Config

MAX_COMPONENTS = 200
MAX_TEXT = 200


def components(settings: Config) -> list[dict[str, Any]]:
    """What is running; empty, with a line in the log, when the command doesn't tell."""
    if settings.inventory is None:
        return []
    try:
        status, output = local_call.call(
            settings.inventory, folder=settings.folder, timeout=settings.inventory_timeout_seconds
        )
        listed = canonical.loads(output)
    except (local_call.NoAnswer, canonical.NotJson) as error:
        log.warn("inventory_failed", reason=error)
        return []
    if status != 0 or not isinstance(listed, list):
        log.warn("inventory_failed", reason="no JSON list" if status == 0 else f"exit status {status}")
        return []
    known = [_component(entry) for entry in listed if isinstance(entry, dict) and _text(entry.get("name"))]
    if len(known) != len(listed) or len(known) > MAX_COMPONENTS:
        log.warn("inventory_incomplete", listed=len(listed), sent=min(len(known), MAX_COMPONENTS))
    return known[:MAX_COMPONENTS]


def _component(entry: dict[str, Any]) -> dict[str, Any]:
    health = entry.get("health")
    return {
        "name": _text(entry["name"]),
        "version": _text(entry.get("version")),
        "digest": _text(entry.get("digest")),
        "health": health if health in ("ok", "degraded", "down") else "degraded",
    }


def _text(value: Any) -> str | None:
    return value[:MAX_TEXT] if isinstance(value, str) and value else None

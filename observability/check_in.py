"""What an agent says in a check-in, read strictly. Pure. Shape: CONTRACTS.md, section 6.

Fields that we don't know are ignored: the shape is extended by adding some.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dmr_project.lib.errors import InvalidInput
from observability.models import MOST_TEXT
from observability.states import Health

MOST_COMPONENTS = 200  # as many as an agent reports
MOST_BYTES = 256 * 1024  # of a check-in's body: 200 components with every text at its longest, twice over
MOST_NUMBER = 2**63 - 1  # what a column holds
MOST_RELEASE_TEXT = 100  # characters of a release's version and digest
MOST_ERRORS = 20  # named in one answer


@dataclass(frozen=True)
class ComponentSigns:
    """One component of the stack; version and digest empty where the agent does not know them."""

    name: str
    version: str
    digest: str
    health: Health


@dataclass(frozen=True)
class CheckIn:
    """A check-in. `release_version` and `manifest_digest` are None where the agent knows of no release."""

    sequence: int
    agent_version: str
    release_version: str | None
    manifest_digest: str | None
    health: Health
    components: tuple[ComponentSigns, ...]
    uptime_seconds: int | None
    load1: float | None
    memory_used_bytes: int | None
    disk_free_bytes: int | None

    @property
    def inventory_digest(self) -> str:
        """The same for the same components, in whatever order."""
        listed = sorted([each.name, each.version, each.digest, each.health.value] for each in self.components)
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


class Invalid(InvalidInput):
    code = "invalid-check-in"
    title = "The check-in has an invalid value"


def parse(body: Mapping[str, Any]) -> CheckIn:
    """Raises Invalid, which names each bad field (the first MOST_ERRORS of them)."""
    reader = _Reader()
    release = reader.mapping(body, "release", may_be_null=True)
    measures = reader.mapping(body, "measures") or {}
    found = CheckIn(
        sequence=reader.whole(body, "sequence", required=True) or 0,
        agent_version=reader.text(body, "agentVersion"),
        release_version=reader.text(release, "version", "release.", most=MOST_RELEASE_TEXT)
        if release is not None
        else None,
        manifest_digest=reader.text(release, "manifestDigest", "release.", most=MOST_RELEASE_TEXT)
        if release is not None
        else None,
        health=reader.health(body),
        components=_components(reader, body),
        uptime_seconds=reader.whole(measures, "uptimeSeconds", "measures."),
        load1=reader.number(measures, "load1", "measures."),
        memory_used_bytes=reader.whole(measures, "memoryUsedBytes", "measures."),
        disk_free_bytes=reader.whole(measures, "diskFreeBytes", "measures."),
    )
    if reader.errors:
        errors = reader.errors[:MOST_ERRORS]
        raise Invalid("; ".join(f"{each['field']} {each['detail']}" for each in errors), errors=errors)
    return found


def _components(reader: _Reader, body: Mapping[str, Any]) -> tuple[ComponentSigns, ...]:
    listed = body.get("components")
    if not isinstance(listed, list):
        reader.refuse("components", "must be a list")
        return ()
    if len(listed) > MOST_COMPONENTS:
        reader.refuse("components", f"has {len(listed)} entries; at most {MOST_COMPONENTS} are allowed")
        return ()
    found: dict[str, ComponentSigns] = {}
    for index, entry in enumerate(listed):
        path = f"components[{index}]"
        if not isinstance(entry, dict):
            reader.refuse(path, "must be an object")
            continue
        signs = ComponentSigns(
            name=reader.text(entry, "name", f"{path}."),
            version=reader.text(entry, "version", f"{path}.", required=False),
            digest=reader.text(entry, "digest", f"{path}.", required=False),
            health=reader.health(entry, f"{path}."),
        )
        if signs.name in found:
            reader.refuse(f"{path}.name", "stands in the list twice")
        found[signs.name] = signs
    return tuple(found.values())


class _Reader:
    """Takes fields out of parsed JSON, and collects what is wrong with them."""

    def __init__(self) -> None:
        self.errors: list[dict[str, str]] = []

    def refuse(self, field: str, detail: str) -> None:
        self.errors.append({"field": field, "detail": detail})

    def mapping(self, source: Mapping[str, Any], name: str, may_be_null: bool = False) -> Mapping[str, Any] | None:
        value = source.get(name)
        if isinstance(value, dict):
            return value
        if not (may_be_null and value is None and name in source):
            self.refuse(name, "must be an object or null" if may_be_null else "must be an object")
        return None

    def text(
        self, source: Mapping[str, Any], name: str, path: str = "", required: bool = True, most: int = MOST_TEXT
    ) -> str:
        value = source.get(name)
        if value is None and not required:
            return ""
        # What is printable holds neither NUL nor half a character, which no database takes.
        if not isinstance(value, str) or not value.isprintable() or len(value) > most or (required and not value):
            self.refuse(f"{path}{name}", f"must be a text of 1 to {most} printable characters")
            return ""
        return value

    def whole(self, source: Mapping[str, Any], name: str, path: str = "", required: bool = False) -> int | None:
        value = source.get(name)
        if value is None and not required:
            return None
        if type(value) is not int or not 0 <= value <= MOST_NUMBER:
            self.refuse(f"{path}{name}", "must be a whole number, not below 0")
            return None
        return value

    def number(self, source: Mapping[str, Any], name: str, path: str = "") -> float | None:
        value = source.get(name)
        if value is None:
            return None
        if type(value) not in (int, float) or not 0 <= value <= MOST_NUMBER or not math.isfinite(value):
            self.refuse(f"{path}{name}", "must be a number, not below 0")
            return None
        return float(value)

    def health(self, source: Mapping[str, Any], path: str = "") -> Health:
        value = source.get("health")
        if not isinstance(value, str) or value not in Health.values:
            self.refuse(f"{path}health", f"must be one of {', '.join(Health.values)}")
            return Health.DOWN
        return Health(value)

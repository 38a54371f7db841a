"""A release's manifest: its shape, canonical bytes, digest, and the order of versions.

    {"schema": 1, "version": "1.1.0", "sequence": 12, "severity": "optional|mandatory|critical",
     "requires": {"minVersion": "1.0.0"},
     "components": [{"name", "image", "digest": "sha256:…", "settings": {}}], "notes": {"et", "en"}}

Fields that we don't know are kept and signed along, so that the shape can grow.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from dmr_agent import canonical
from dmr_agent.errors import AgentError

MAX_BYTES = 1 << 20
SEVERITIES = ("optional", "mandatory", "critical")
# semver.org's own expression, ASCII only
VERSION = re.compile(
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(?:-((?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?"
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class ManifestInvalid(AgentError):
    """The manifest does not have the shape above."""


@dataclass(frozen=True)
class Manifest:
    content: dict[str, Any]
    canonical: bytes  # what is signed, and what the digest is of

    @property
    def version(self) -> str:
        return str(self.content["version"])

    @property
    def sequence(self) -> int:
        return int(self.content["sequence"])

    @property
    def min_version(self) -> str | None:
        found = (self.content.get("requires") or {}).get("minVersion")
        return None if found is None else str(found)

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.canonical).hexdigest()


def parse(content: bytes) -> Manifest:
    """Any JSON text of a manifest → Manifest. Raises ManifestInvalid."""
    if len(content) > MAX_BYTES:
        raise ManifestInvalid(f"the manifest is longer than {MAX_BYTES} bytes")
    try:
        value = canonical.loads(content)
        _check(value)
        return Manifest(value, canonical.dumps(value))
    except canonical.NotJson as error:
        raise ManifestInvalid(f"the manifest is {error}") from error


def parse_canonical(content: bytes) -> Manifest:
    """As `parse`, but `content` must already be the canonical form, since that alone is what was signed."""
    manifest = parse(content)
    if manifest.canonical != content:
        raise ManifestInvalid("the manifest is not in canonical form")
    return manifest


def version_key(version: str) -> tuple[Any, ...]:
    """A sort key in the order of semver.org, point 11, build metadata ignored. Raises ManifestInvalid."""
    match = VERSION.fullmatch(version)
    if not match or len(version) > 100:
        raise ManifestInvalid(f"not a semantic version: {version[:100]!r}")
    major, minor, patch, pre = match.group(1, 2, 3, 4)
    # A release without a pre-release part comes after every one with it; numbers come before words.
    parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".")] if pre else []
    return (int(major), int(minor), int(patch), pre is None, parts)


def _check(value: Any) -> None:
    _require(isinstance(value, dict), "it must be an object")
    _require(type(value.get("schema")) is int and value["schema"] == 1, "schema must be 1")
    _require(_is_version(value.get("version")), "version must be a semantic version")
    sequence = value.get("sequence")
    _require(type(sequence) is int and 0 < sequence < 2**53, "sequence must be a positive integer")
    _require(value.get("severity") in SEVERITIES, "severity must be optional, mandatory or critical")
    requires = value.get("requires")
    _require(requires is None or isinstance(requires, dict), "requires must be an object")
    if requires and requires.get("minVersion") is not None:
        _require(_is_version(requires["minVersion"]), "requires.minVersion must be a semantic version")
    components = value.get("components")
    if not isinstance(components, list) or not components:
        raise ManifestInvalid("the manifest is wrong: components must be a list that is not empty")
    for component in components:
        _check_component(component)
    names = [component["name"] for component in components]
    _require(len(set(names)) == len(names), "two components have the same name")
    notes = value.get("notes")
    _require(
        notes is None or (isinstance(notes, dict) and all(isinstance(text, str) for text in notes.values())),
        "notes must be texts by language",
    )


def _check_component(component: Any) -> None:
    _require(isinstance(component, dict), "a component must be an object")
    for key in ("name", "image"):
        _require(isinstance(component.get(key), str) and component[key] != "", f"a component needs its {key}")
    digest = component.get("digest")
    _require(
        isinstance(digest, str) and DIGEST.fullmatch(digest) is not None,
        f"component {component['name']}: digest must be sha256: and 64 hexadecimal digits",
    )
    settings = component.get("settings")
    _require(
        settings is None or isinstance(settings, dict),
        f"component {component['name']}: settings must be an object",
    )


def _is_version(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 100 and VERSION.fullmatch(value) is not None


def _require(is_met: bool, what: str) -> None:
    if not is_met:
        raise ManifestInvalid(f"the manifest is wrong: {what}")

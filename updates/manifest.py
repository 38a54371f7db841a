"""A release's manifest: its shape, canonical bytes, digest, and the order of versions. Pure.

    {"schema": 1, "version": "1.1.0", "sequence": 12, "severity": "optional|mandatory|critical",
     "requires": {"minVersion": "1.0.0"},
     "components": [{"name", "image", "digest": "sha256:…", "settings": {}}], "notes": {"et", "en"}}

`requires`, `settings` and `notes` may be absent. Fields that we don't know are refused: an agent of today would
not heed what they say, and a misspelt `minVersion` must not go unseen.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

import rfc8785
from django.utils.translation import gettext

from dmr_project.lib.errors import InvalidInput

MAX_BYTES = 1 << 20  # what agents read
MAX_SEQUENCE = 2**53 - 1  # what JSON numbers carry everywhere
SEVERITIES = ("optional", "mandatory", "critical")
LANGUAGES = ("et", "en")
_FIELDS = ("schema", "version", "sequence", "severity", "requires", "components", "notes")
_COMPONENT_FIELDS = ("name", "image", "digest", "settings")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# semver.org's own expression, ASCII only
_VERSION = re.compile(
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(?:-((?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?"
)


class BadManifest(InvalidInput):
    code = "bad-manifest"
    title = "The manifest is wrong"


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
    def severity(self) -> str:
        return str(self.content["severity"])

    @property
    def min_version(self) -> str | None:
        found: str | None = (self.content.get("requires") or {}).get("minVersion")
        return found

    def notes(self, language: str) -> str:
        return str((self.content.get("notes") or {}).get(language, ""))

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.canonical).hexdigest()


def parse(content: bytes) -> Manifest:
    """Any JSON text of a manifest, in whatever layout. Raises BadManifest, whose one line names the field."""
    if len(content) > MAX_BYTES:
        raise BadManifest(gettext("The manifest is longer than %(max_bytes)s bytes.") % {"max_bytes": MAX_BYTES})
    value = load_json(content, "The manifest")
    _check(value)
    try:
        return Manifest(value, rfc8785.dumps(value))
    except (rfc8785.CanonicalizationError, ValueError, RecursionError) as error:
        raise BadManifest(
            gettext("The manifest has no canonical form (RFC 8785): %(error)s") % {"error": error}
        ) from None


def load_json(content: bytes, what: str) -> Any:
    """JSON that has one reading: UTF-8, no key twice, no NaN. Raises BadManifest."""
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise BadManifest(gettext("%(what)s is not JSON: %(error)s") % {"what": what, "error": error}) from None


def is_version(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 100 and _VERSION.fullmatch(value) is not None


def version_key(version: str) -> tuple[Any, ...]:
    """A sort key in the order of semver.org, point 11; build metadata does not count. Raises ValueError."""
    match = _VERSION.fullmatch(version)
    if not match:
        raise ValueError(gettext("not a semantic version: %(version)r") % {"version": version})
    major, minor, patch, pre = match.group(1, 2, 3, 4)
    # What has a pre-release part comes before what has none; in it, numbers come before words.
    parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".")] if pre else []
    return (int(major), int(minor), int(patch), pre is None, parts)


def _check(value: Any) -> None:
    if not isinstance(value, dict):
        raise BadManifest(gettext("The manifest must be a JSON object."))
    _known(value, _FIELDS, "")
    _require(type(value.get("schema")) is int and value["schema"] == 1, "schema", "must be 1")
    _require(is_version(value.get("version")), "version", "must be a semantic version such as 1.2.3")
    sequence = value.get("sequence")
    _require(
        type(sequence) is int and 0 < sequence <= MAX_SEQUENCE,
        "sequence",
        f"must be a whole number from 1 to {MAX_SEQUENCE}",
    )
    _require(value.get("severity") in SEVERITIES, "severity", f"must be one of {', '.join(SEVERITIES)}")
    requires = value.get("requires")
    if requires is not None:
        _require(isinstance(requires, dict), "requires", "must be an object")
        _known(requires, ("minVersion",), "requires.")
        least = requires.get("minVersion")
        _require(least is None or is_version(least), "requires.minVersion", "must be a semantic version")
    components = value.get("components")
    if not isinstance(components, list) or not components:
        raise _bad("components", "must be a list that is not empty")
    for index, component in enumerate(components):
        _check_component(component, f"components[{index}]")
    names = [component["name"] for component in components]
    _require(len(set(names)) == len(names), "components", "must not name a component twice")
    notes = value.get("notes")
    if notes is not None:
        _require(isinstance(notes, dict), "notes", "must be an object")
        _known(notes, LANGUAGES, "notes.")
        for language, text in notes.items():
            _require(isinstance(text, str), f"notes.{language}", "must be a text")


def _check_component(component: Any, where: str) -> None:
    _require(isinstance(component, dict), where, "must be an object")
    _known(component, _COMPONENT_FIELDS, f"{where}.")
    for key in ("name", "image"):
        found = component.get(key)
        _require(isinstance(found, str) and found.strip() != "", f"{where}.{key}", "must be a text that is not empty")
    digest = component.get("digest")
    _require(
        isinstance(digest, str) and _DIGEST.fullmatch(digest) is not None,
        f"{where}.digest",
        "must be sha256: and 64 hexadecimal digits in lower case",
    )
    settings = component.get("settings")
    _require(settings is None or isinstance(settings, dict), f"{where}.settings", "must be an object")


def _known(value: dict[str, Any], fields: tuple[str, ...], prefix: str) -> None:
    for name in value:
        if name not in fields:
            raise _bad(f"{prefix}{name[:50]}", f"is not known; there are {', '.join(fields)}")


def _require(is_met: bool, field: str, detail: str) -> None:
    if not is_met:
        raise _bad(field, detail)


def _bad(field: str, detail: str) -> BadManifest:
    return BadManifest(
        gettext("The manifest's %(field)s %(detail)s.") % {"field": field, "detail": detail},
        errors=[{"field": field, "detail": detail}],
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(gettext("an object has the same key twice"))
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(gettext("%(name)s is not a JSON value") % {"name": name})

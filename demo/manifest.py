"""The manifests of the demonstration bot's releases: one component, the bot."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

COMPONENT = "bot"


def make(version: str, sequence: int, english: str, estonian: str, *, is_broken: bool = False) -> dict[str, Any]:
    """`is_broken`: the bot that it installs doesn't work, which shows only when it runs."""
    bot = {
        "name": COMPONENT,
        "image": "registry.example.org/demonstration/bot",
        "digest": f"sha256:{hashlib.sha256(version.encode()).hexdigest()}",
        "settings": {"broken": is_broken},
    }
    return {
        "schema": 1,
        "version": version,
        "sequence": sequence,
        "severity": "optional",
        "components": [bot],
        "notes": {"en": english, "et": estonian},
    }


def is_broken(manifest: dict[str, Any]) -> bool:
    return any((each.get("settings") or {}).get("broken") for each in manifest["components"])


def next_version(known: Iterable[str]) -> str:
    """The next minor version after all of these, of which those that aren't X.Y.Z don't count."""
    numbers = [tuple(map(int, match.groups())) for each in known if (match := re.match(r"(\d+)\.(\d+)\.\d+", each))]
    major, minor = max(numbers, default=(1, 0))
    return f"{major}.{minor + 1}.0"

"""The agent's configuration: one TOML file. Every key, its meaning and its default: docs/agent.md.

Relative paths are taken from the file's folder, which is also where commands are run.
"""

from __future__ import annotations

import importlib
import math
import shlex
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dmr_agent import keys, log
from dmr_agent.errors import AgentError
from dmr_agent.manifest import Manifest, ManifestInvalid, parse

# By name, since a type checker sees only one of the two.
tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

REQUIRED = ("server", "api_key_file", "trusted_keys", "state_dir", "install", "undo", "health")
DURATIONS = {  # seconds, with the default and the least that makes sense
    "soak_seconds": (300, 0),
    "start_grace_seconds": (600, 0),  # restarts of a full stack take 2 to 6 minutes
    "install_timeout_seconds": (1800, 0.1),
    "undo_timeout_seconds": (1800, 0.1),
    "health_interval_seconds": (5, 0.05),
    "health_timeout_seconds": (5, 0.1),
    "inventory_timeout_seconds": (30, 0.1),
    "server_timeout_seconds": (10, 0.1),
    "min_pause_seconds": (5, 0.05),
    "max_pause_seconds": (300, 0.05),
}
OPTIONAL = ("threshold", "inventory", "initial_manifest", *DURATIONS)
LEAST_THRESHOLD = 2


class ConfigInvalid(AgentError):
    """The configuration file can't be read or says something that can't be."""

    exit_code = 2


@dataclass(frozen=True)
class Config:
    folder: Path
    server: str  # without a slash at its end
    api_key_file: Path
    trusted_keys: dict[str, Ed25519PublicKey]
    threshold: int
    state_dir: Path
    install: list[str]
    undo: list[str]
    health: str | list[str]  # a URL, or a command
    inventory: list[str] | None
    initial_manifest: Manifest | None
    soak_seconds: float
    start_grace_seconds: float
    install_timeout_seconds: float
    undo_timeout_seconds: float
    health_interval_seconds: float
    health_timeout_seconds: float
    inventory_timeout_seconds: float
    server_timeout_seconds: float
    min_pause_seconds: float
    max_pause_seconds: float


def load(path: Path) -> Config:
    """Read and check the file. Raises ConfigInvalid with one line that names what is wrong."""
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigInvalid(f"can't read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigInvalid(f"{path} is not TOML: {error}") from error
    if unknown := sorted(set(values) - {*REQUIRED, *OPTIONAL}):
        raise ConfigInvalid(f"{path}: unknown key: {', '.join(unknown)}")
    if missing := [key for key in REQUIRED if key not in values]:
        raise ConfigInvalid(f"{path}: missing key: {', '.join(missing)}")
    try:
        return _config(values, path.absolute().parent)
    except AgentError as error:
        raise ConfigInvalid(f"{path}: {error}") from error


def read_api_key(path: Path) -> str:
    """Read anew for every call, so that a rotated key needs no restart. Raises ConfigInvalid."""
    try:
        key = path.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise ConfigInvalid(f"can't read the API key in {path}") from error
    if not key or not key.isprintable() or " " in key:
        raise ConfigInvalid(f"{path} must hold one API key and nothing else")
    return key


def _config(values: dict[str, Any], folder: Path) -> Config:
    durations = {key: _seconds(values, key, *bounds) for key, bounds in DURATIONS.items()}
    if durations["min_pause_seconds"] > durations["max_pause_seconds"]:
        raise ConfigInvalid("min_pause_seconds is more than max_pause_seconds")
    key_file = folder / _text(values, "api_key_file")
    read_api_key(key_file)
    if key_file.stat().st_mode & stat.S_IROTH:
        log.warn("api_key_readable_by_everybody", path=key_file)
    trusted = _trusted(values, folder)
    threshold = _threshold(values, len(trusted))
    health = values["health"]
    is_url = isinstance(health, str) and health.startswith(("http://", "https://"))
    return Config(
        folder=folder,
        server=_url(values, "server").rstrip("/"),
        api_key_file=key_file,
        trusted_keys=trusted,
        threshold=threshold,
        state_dir=folder / _text(values, "state_dir"),
        install=_command(values, "install"),
        undo=_command(values, "undo"),
        health=_url(values, "health") if is_url else _command(values, "health"),
        inventory=_command(values, "inventory") if "inventory" in values else None,
        initial_manifest=_initial_manifest(values, folder),
        **durations,
    )


def _trusted(values: dict[str, Any], folder: Path) -> dict[str, Ed25519PublicKey]:
    entries = values["trusted_keys"]
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ConfigInvalid("trusted_keys must be a list of .pub files or base64 public keys")
    return keys.trusted(entries, folder)


def _threshold(values: dict[str, Any], keys_known: int) -> int:
    threshold = values.get("threshold", LEAST_THRESHOLD)
    if type(threshold) is not int or threshold < LEAST_THRESHOLD:
        raise ConfigInvalid("threshold must be at least 2: no software without two people's signatures")
    if threshold > keys_known:
        raise ConfigInvalid(f"threshold is {threshold}, but trusted_keys has {keys_known} different keys")
    return threshold


def _initial_manifest(values: dict[str, Any], folder: Path) -> Manifest | None:
    if "initial_manifest" not in values:
        return None
    path = folder / _text(values, "initial_manifest")
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise ConfigInvalid(f"can't read initial_manifest: {error.strerror}") from error
    except ManifestInvalid as error:
        raise ConfigInvalid(f"initial_manifest: {error}") from error


def _text(values: dict[str, Any], key: str) -> str:
    value = values[key]
    if not isinstance(value, str) or not value.strip():
        raise ConfigInvalid(f"{key} must be a text")
    return value


def _url(values: dict[str, Any], key: str) -> str:
    value = _text(values, key)
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    is_plain = value.isascii() and value.isprintable() and " " not in value
    if not is_good or not is_plain or parts.username is not None or parts.fragment:
        raise ConfigInvalid(f"{key} must be an http or https URL without credentials")
    if key == "server" and parts.query:
        raise ConfigInvalid("server must be a base URL without a query")
    if key == "server" and parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        log.warn("api_key_travels_unencrypted", server=value)
    return value


def _command(values: dict[str, Any], key: str) -> list[str]:
    value = values[key]
    try:
        argv = shlex.split(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ConfigInvalid(f"{key} is not a command: {error}") from error
    if not isinstance(argv, list) or not argv or not all(isinstance(part, str) and "\0" not in part for part in argv):
        raise ConfigInvalid(f"{key} must be a command: a text, or a list of texts")
    return argv


def _seconds(values: dict[str, Any], key: str, default: float, least: float) -> float:
    value = values.get(key, default)
    if type(value) not in (int, float) or not math.isfinite(value) or value < least:
        raise ConfigInvalid(f"{key} must be a number of seconds, at least {least}")
    return float(value)

"""Reading the environment, loudly: a bad value ends the start with one line that says what to write.

Every name read here is documented in docs/settings.md; a test fails when one is not.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class BadEnvironment(SystemExit):
    """A variable that cannot be used. Printed as one line; the process exits 1."""

    def __init__(self, name: str, hint: str) -> None:
        super().__init__(f"{name}: {hint}")


def text(name: str, default: str = "") -> str:
    """The variable, or the contents of the file that `<name>_FILE` names; `default` where neither is set."""
    value = os.environ.get(name, "")
    path = os.environ.get(f"{name}_FILE", "")
    if value and path:
        raise BadEnvironment(name, f"is set, and {name}_FILE too; set one of them")
    if path:
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadEnvironment(f"{name}_FILE", f"cannot be read: {error}") from error
    return value or default


def choice(name: str, options: tuple[str, ...]) -> str:
    """One of `options`; the first of them where the variable is not set."""
    value = text(name, options[0])
    if value not in options:
        raise BadEnvironment(name, f"{value!r} is not one of {', '.join(options)}")
    return value


def flag(name: str, default: bool) -> bool:
    value = text(name).lower()
    if not value:
        return default
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise BadEnvironment(name, f"{value!r} is neither on nor off; write 1 or 0")


def number(name: str, default: int, least: int, most: int) -> int:
    value = text(name)
    if not value:
        return default
    if not value.isascii() or not value.isdigit() or not least <= int(value) <= most:
        raise BadEnvironment(name, f"{value!r} is not a whole number from {least} to {most}")
    return int(value)


def url(name: str, default: str, schemes: tuple[str, ...], example: str, *, needs_host: bool = True) -> str:
    """A URL of one of the schemes. Never echoed: it may hold a password."""
    value = text(name, default)
    if not value:
        return value
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in schemes and bool(parts.hostname or not needs_host) and parts.port != 0
    except ValueError:  # of the port, or of an address in brackets
        is_good = False
    if not is_good:
        raise BadEnvironment(name, f"is not a URL such as {example}")
    return value


def make_folder(name: str, path: Path) -> None:
    """Makes the folder that the variable names, for its owner alone."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise BadEnvironment(name, f"{path} cannot be made: {error.strerror}") from error


def mapping(name: str, example: str) -> dict[str, list[str]]:
    """`from=to`, separated by commas; several `to` of one `from` are several pairs."""
    found: dict[str, list[str]] = {}
    for part in text(name).split(","):
        if not part.strip():
            continue
        left, sign, right = (each.strip() for each in part.rpartition("="))
        if not (left and sign and right):
            raise BadEnvironment(name, f"{part.strip()!r} is not a pair such as {example}")
        found.setdefault(left, []).append(right)
    return found


def networks(name: str) -> list[Network]:
    """Networks in CIDR notation, separated by commas."""
    found: list[Network] = []
    for part in text(name).split(","):
        if not part.strip():
            continue
        try:
            found.append(ipaddress.ip_network(part.strip(), strict=False))
        except ValueError as error:
            raise BadEnvironment(name, f"{part.strip()!r} is not a network such as 10.0.0.0/8") from error
    return found

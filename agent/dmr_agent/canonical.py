"""JSON that has one reading: strict parsing and the canonical form of RFC 8785."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import rfc8785

from dmr_agent.errors import AgentError


class NotJson(AgentError):
    """Not JSON, or JSON that two readers could understand differently."""


def loads(content: bytes) -> Any:
    """Parse UTF-8 JSON; duplicate keys, NaN and Infinity, and nesting too deep to follow raise NotJson."""
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
    except NotJson:
        raise
    except (ValueError, RecursionError) as error:
        raise NotJson(f"not JSON: {error}") from error


def dumps(value: Any) -> bytes:
    """The canonical bytes; NotJson for what RFC 8785 can't carry (integers beyond 2**53, lone surrogates)."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, ValueError, RecursionError) as error:
        raise NotJson(f"has no canonical form: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotJson("an object has the same key twice")
    return found


def _constant(name: str) -> NoReturn:
    raise NotJson(f"{name} is not JSON")

"""`POST /messages` on the web server's event loop, without Django: for the message that needs no second thought.

Such a message is decided from what this process remembers, and stored together with others. Whatever is out of the
ordinary, a refusal, a repeat, a key not seen before, is left to relay.api.messages, which looks at it anew; so
nothing is said here but 202. Who sends gets the same from both (tests/wiring/test_takes_messages_on_the_loop.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import SynchronousOnlyOperation
from django.db import Error as DatabaseError

from dmr_project.lib.errors import DomainError
from participants import authentication, directory
from participants.directory import Directory, Entry
from participants.scopes import Scope
from relay import accept, envelope, insert, limits
from relay.api.messages import LOOKED, SPENT, accepted_shape, observe_accepted

PATH = "/messages"


async def take(environ: dict[str, Any]) -> tuple[Mapping[str, str], bytes] | None:
    """Headers and body of a 202; None where Django is to look at the request, which holds its body whole."""
    registry = directory.last_seen()
    if registry is None:
        return None
    try:
        decided = _decide(environ, registry)
    except (DomainError, SynchronousOnlyOperation):  # the latter is Django's: to know more it takes a query
        return None
    if decided is None:
        return None
    sender, row, left = decided
    environ[SPENT], environ[LOOKED] = (sender, left), True
    try:
        accepted = await accept.accept_on_loop(sender, row)
    except DatabaseError:
        return None
    if accepted is None:
        return None
    observe_accepted(environ, "one")
    body = json.dumps(accepted_shape(accepted), separators=(",", ":"))
    return left, body.encode()


def _decide(environ: dict[str, Any], registry: Directory) -> tuple[Entry, insert.Row, Mapping[str, str]] | None:
    """Who sends, what is to be stored, and what is left of the sender's rate, off which this message is now."""
    credential = authentication.remembered(environ, registry, Scope.RELAY)
    if credential is None:
        return None
    sender = credential.participant
    payload: bytes = environ["wsgi.input"].getvalue()
    if len(payload) > registry.payload_limit(sender):
        return None
    row = accept.plain_row(registry, sender, envelope.read(environ), payload)
    left = limits.spend_at_hand(sender, 1, len(payload)) if row is not None else None
    return (sender, row, left) if row is not None and left is not None else None

"""What a key is for: each endpoint names the one scope that it needs, and a key may be limited to some."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from dmr_project.lib.errors import Forbidden


class Scope(models.TextChoices):
    RELAY = "relay", _("relay: send and receive messages")
    REGISTRY = "registry", _("registry: read who takes part, change what is one's own")
    UPDATES = "updates", _("updates: be offered releases, and report on them")
    HEARTBEAT = "heartbeat", _("heartbeat: say how one is")


ALL = frozenset(Scope)
ANY: Final = "any"  # of an endpoint that every valid key may call; it says why


class ScopeMissing(Forbidden):
    code = "scope-missing"
    title = "This key is not for that"


def parse(written: str) -> frozenset[Scope]:
    """As a key's column has it: `relay,updates`; empty: all that there are. Raises ValidationError."""
    if not written:
        return ALL
    try:
        return frozenset(Scope(each.strip()) for each in written.split(","))
    except ValueError:
        message = _("Scopes are %(known)s, separated by commas.")
        raise ValidationError(message, params={"known": ", ".join(Scope.values)}) from None


def validate(written: str) -> None:
    """Raises ValidationError."""
    parse(written)


def write(scopes: Iterable[str]) -> str:
    """For the column: in our order; empty where they are all, so that a later scope counts for the key too."""
    chosen = set(scopes)
    return "" if not chosen or chosen >= ALL else ",".join(each.value for each in Scope if each in chosen)


def listed(scopes: frozenset[Scope]) -> list[str]:
    """For people and machines, in our order."""
    return [each.value for each in Scope if each in scopes]


def check(scopes: frozenset[Scope], needed: str) -> None:
    """Raises ScopeMissing."""
    if needed != ANY and needed not in scopes:
        raise ScopeMissing(
            f"This key is for {', '.join(listed(scopes))} only; this needs one that is for {needed}. "
            "Use another of your keys, or ask Core for one."
        )

"""What still depends on a participant, which the apps above know: they say so here, and deletion by staff asks.

The network's contract deletes whatever depends on it (registry.remove_participant): what waits is returned then.
"""

from __future__ import annotations

from collections.abc import Callable

from participants.models import Participant

_asked: list[Callable[[Participant], str]] = []


def ask(say: Callable[[Participant], str]) -> Callable[[Participant], str]:
    """Has `say` asked: what depends on a participant, in words for people; empty where nothing does."""
    _asked.append(say)
    return say


def on(participant: Participant) -> list[str]:
    return [said for said in (say(participant) for say in _asked) if said]

"""May one participant reach another, and why: decided here alone, for the relay's routing and for whoever asks.

Nobody reaches anybody but through a room that both are in, where the one may speak and the other listens. Then the
statuses of the two say whether it may send now, and whether the other gets its messages now or later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from django.db import models
from django.utils.translation import gettext_lazy as _


class Answer(models.TextChoices):
    REACHED = "reached", _("yes")
    HELD = "held", _("yes, but held until the other is there")
    MAY_NOT_SEND = "may-not-send", _("no: it may not send now")
    UNKNOWN = "unknown", _("no: the other is not in the network")
    NO_SHARED_ROOM = "no-shared-room", _("no: they share no room")
    MAY_NOT_SPEAK = "may-not-speak", _("no: it may not speak in any room that they share")
    NOT_LISTENING = "not-listening", _("no: the other listens in no room where it may speak")


@dataclass(frozen=True)
class Way:
    """A room that two are in."""

    room_id: int
    room: str
    speaks: bool  # may the one speak there?
    listens: bool  # does the other listen there?

    @property
    def carries(self) -> bool:
        return self.speaks and self.listens


@dataclass(frozen=True)
class Reach:
    """The answer, and the rooms it comes from."""

    answer: Answer
    ways: tuple[Way, ...]
    way: Way | None  # whose policy holds: the oldest that carries, whatever the statuses are

    @property
    def is_open(self) -> bool:
        """Are messages accepted for the other?"""
        return self.answer in (Answer.REACHED, Answer.HELD)


class Standing(Protocol):
    """What of a participant decides besides its rooms."""

    @property
    def may_send(self) -> bool: ...
    @property
    def is_known(self) -> bool: ...
    @property
    def is_reachable(self) -> bool: ...


def decide(ways: Iterable[Way], sender: Standing, recipient: Standing) -> Reach:
    """Pure, in the order in which the relay refuses."""
    known = tuple(sorted(ways, key=lambda way: way.room_id))
    carrying = next((way for way in known if way.carries), None)
    if not sender.may_send:
        answer = Answer.MAY_NOT_SEND
    elif not recipient.is_known:
        answer = Answer.UNKNOWN
    elif not known:
        answer = Answer.NO_SHARED_ROOM
    elif carrying is None:
        answer = Answer.NOT_LISTENING if any(way.speaks for way in known) else Answer.MAY_NOT_SPEAK
    else:
        answer = Answer.REACHED if recipient.is_reachable else Answer.HELD
    return Reach(answer, known, carrying)

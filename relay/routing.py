"""From a message to its recipient, or to why there is none."""

from __future__ import annotations

import random
from dataclasses import dataclass

from dmr_project.lib.sentences import Sentence
from participants import names, reach
from participants.directory import Directory, Entry, Policy, Recipient
from participants.reach import Answer


@dataclass(frozen=True)
class Route:
    """Where a message goes."""

    recipient: Entry
    policy: Policy


@dataclass(frozen=True)
class DeadEnd:
    """Why a message goes nowhere: an HTTP status, and the reason for people."""

    status: int
    reason: str
    recipient: Entry | None = None


@dataclass(frozen=True)
class RoomRoute:
    """Where a message to a room goes: every other member that listens, each with a delivery of its own."""

    recipients: tuple[Recipient, ...]
    policy: Policy


_REASONS = {
    Answer.NO_SHARED_ROOM: Sentence("%(one)s and %(other)s share no room."),
    Answer.MAY_NOT_SPEAK: Sentence("%(one)s may not speak in any room that it shares with %(other)s."),
    Answer.NOT_LISTENING: Sentence("%(other)s listens in no room where %(one)s may speak."),
}
_NO_ROOM = Sentence("There is no room %(room)s that %(sender)s is in.")
_NOT_HEARD = Sentence("%(sender)s may not speak in the room %(room)s.")
_NO_CLASSIFIER = Sentence("There is no classifier in any room of the sender.")
_NOBODY = Sentence("There is no participant %(name)s to write to.")


def route_to_room(directory: Directory, sender: Entry, room: str) -> RoomRoute | DeadEnd:
    """The room's other members that listen."""
    found = directory.room(sender, room)
    if found is None:
        return DeadEnd(404, _NO_ROOM(room=repr(room), sender=sender.name))
    policy, may_speak = found
    if not may_speak:
        return DeadEnd(403, _NOT_HEARD(room=repr(room), sender=sender.name))
    return RoomRoute(tuple(directory.listeners(policy.room_id, but=sender.id)), policy)


def route(directory: Directory, sender: Entry, send_to: str) -> Route | DeadEnd:
    """The recipient that `send_to` names, if the sender may speak to it."""
    if send_to == names.CLASSIFIER:
        candidates = directory.classifiers_for(sender)
        if not candidates:
            return DeadEnd(404, _NO_CLASSIFIER())
        recipient = random.choice(candidates)
    else:
        found = directory.named(send_to)
        if found is None or send_to in (names.DMR, names.RELAY):
            return _nobody(send_to)
        recipient = found
    ways, policies = directory.ways(sender, recipient)
    decided = reach.decide(ways, sender, recipient)
    if decided.answer == Answer.UNKNOWN:
        return _nobody(send_to)
    if decided.way is None:
        return DeadEnd(403, _REASONS[decided.answer](one=sender.name, other=recipient.name), recipient)
    return Route(recipient, policies[decided.way.room_id])


def _nobody(name: str) -> DeadEnd:
    return DeadEnd(404, _NOBODY(name=repr(name)))

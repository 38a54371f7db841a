"""From a message to its recipient, or to why there is none."""

from __future__ import annotations

import random
from dataclasses import dataclass

from participants import names
from participants.directory import Directory, Entry, Policy, Recipient


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
    """Where a message to a room goes: every other member, each with a delivery of its own."""

    recipients: tuple[Recipient, ...]
    policy: Policy


def route_to_room(directory: Directory, sender: Entry, room: str) -> RoomRoute | None:
    """The room's other members; None where there is no such room, or none that the sender is in."""
    policy = directory.room(sender, room)
    if policy is None:
        return None
    return RoomRoute(tuple(directory.members(policy.room_id, but=sender.id)), policy)


def route(directory: Directory, sender: Entry, send_to: str) -> Route | DeadEnd:
    """The recipient that `send_to` names, if the sender may speak to it."""
    if send_to == names.CLASSIFIER:
        candidates = directory.classifiers_for(sender)
        if not candidates:
            return DeadEnd(404, "There is no classifier in any room of the sender.")
        recipient = random.choice(candidates)
    else:
        found = directory.named(send_to)
        if found is None or not found.is_known or send_to in (names.DMR, names.RELAY):
            return DeadEnd(404, f"There is no participant {send_to!r} to write to.")
        recipient = found
    policy = directory.policy(sender, recipient)
    if policy is None:
        return DeadEnd(403, f"{sender.name} and {recipient.name} share no room.", recipient)
    return Route(recipient, policy)

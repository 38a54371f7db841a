"""Those beside a participant, and how it stands to each of them: for pages and for participants who ask."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import QuerySet

from participants import names, reach
from participants.directory import entry_of
from participants.models import Membership, Participant
from participants.reach import Reach, Way


@dataclass(frozen=True)
class Between:
    """One participant and another: may the one reach the other, and the other the one?"""

    other: Participant
    there: Reach
    back: Reach


def between(one: Participant, others: Sequence[Participant]) -> list[Between]:
    """Of each of the others, in their order. Two queries, however many they are."""
    mine = {each.room_id: each for each in Membership.objects.filter(participant=one).select_related("room")}
    theirs: dict[int, list[Membership]] = defaultdict(list)
    for membership in Membership.objects.filter(participant__in=others, room__in=mine):
        theirs[membership.participant_id].append(membership)
    found = []
    for other in others:
        shared = [(mine[each.room_id], each) for each in theirs[other.pk]]
        there = [Way(a.room_id, a.room.name, a.may_speak, b.listens) for a, b in shared]
        back = [Way(a.room_id, a.room.name, b.may_speak, a.listens) for a, b in shared]
        found.append(
            Between(
                other,
                reach.decide(there, entry_of(one), entry_of(other)),
                reach.decide(back, entry_of(other), entry_of(one)),
            )
        )
    return found


def beside(one: Participant) -> QuerySet[Participant]:
    """Those that share a room with it, by name."""
    rooms = Membership.objects.filter(participant=one).values("room")
    members = Membership.objects.filter(room__in=rooms).values("participant")
    return anybody_but(one).filter(pk__in=members)


def anybody_but(one: Participant) -> QuerySet[Participant]:
    """All others, by name, but for our own entry. Staff see them all; participants, those that are in the network."""
    return Participant.objects.present().exclude(pk=one.pk).exclude(name=names.RELAY).order_by("name")

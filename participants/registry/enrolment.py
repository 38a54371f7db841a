"""New participants, one or many."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import IntegrityError, transaction

from participants import announcements, history, names
from participants.models import Membership, Participant
from participants.registry.api_keys import issue_key
from participants.registry.own_entries import national
from participants.registry.rows import BATCH, check, hold, name_taken


def register(participant: Participant, *, actor: str, key: str | None = None) -> str:
    """Saves a new participant, lets it into the room `national`, and returns its key in clear: the only time.

    `key` is one that staff chose, of 12 to 50 printable ASCII characters. Raises InvalidInput, NameTaken.
    """
    with history.atomic():
        enrol(participant, actor=actor)
        _, clear = issue_key(participant, actor=actor, key=key)
        if participant.status != Participant.Status.PENDING:  # it is told when it is let in
            announcements.registered(participant)
    return clear


def enrol(participant: Participant, *, actor: str) -> None:
    """Saves a new participant without a key, and lets it into the room `national`. Raises InvalidInput, NameTaken."""
    enrol_all([participant], actor=actor)


def enrol_all(participants: Sequence[Participant], *, actor: str) -> None:
    """The same for many, in few statements: all of them, or none."""
    for participant in participants:
        check(participant, but=("institution",))  # which hold() does at once
    with history.atomic():
        hold(participant.institution for participant in participants)
        try:
            with transaction.atomic():
                Participant.objects.bulk_create(participants, batch_size=BATCH)
        except IntegrityError:
            wished = [participant.name for participant in participants]
            taken = Participant.objects.present().filter(name__in=wished).order_by("name")
            raise name_taken(taken.values_list("name", flat=True).first() or wished[0]) from None
        room = national()
        members = [Membership(room=room, participant=participant) for participant in participants]
        Membership.objects.bulk_create(members, batch_size=BATCH)
        for participant in participants:
            after = {**history.facts(participant), "rooms": [names.NATIONAL]}
            history.record("register", participant, actor, after=after)

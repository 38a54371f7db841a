"""Institutions, participants and rooms as rows: checked, saved, and held by whoever relies on them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeVar

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext

from dmr_project.lib.errors import Conflict, InvalidInput
from participants import history
from participants.models import Institution, Participant, Room

Row = TypeVar("Row", Institution, Participant, Room)

BATCH = 500  # rows of a statement


class NameTaken(Conflict):
    code = "name-taken"
    title = "The name is taken"


def check(row: Institution | Participant | Room, *, but: Collection[str] = ()) -> None:
    """Raises InvalidInput, which names each bad field. `but`: fields that are checked otherwise."""
    try:
        row.clean_fields(exclude=set(but))
    except ValidationError as error:
        errors = [{"field": field, "detail": " ".join(messages)} for field, messages in error.message_dict.items()]
        raise InvalidInput("; ".join(f"{each['field']} {each['detail']}" for each in errors), errors=errors) from None


def add(row: Row, *, actor: str) -> Row:
    """Saves a new institution or room. Raises InvalidInput, NameTaken."""
    check(row)
    with history.atomic():
        insert(row)
        history.record("add", row, actor, after=history.facts(row))
    return row


def hold(institutions: Iterable[Institution]) -> None:
    """Keeps them from being deleted meanwhile. Raises InvalidInput where one is gone."""
    wanted = {each.pk: each for each in institutions}
    if not wanted:
        return
    rows = Institution.objects.present().filter(pk__in=wanted).select_for_update().order_by("pk")
    for key in wanted.keys() - set(rows.values_list("pk", flat=True)):
        detail = gettext("%(institution)s was deleted") % {"institution": wanted[key]}
        raise InvalidInput(detail, errors=[{"field": "institutionId", "detail": detail}])


def insert(row: Institution | Participant | Room) -> None:
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        raise name_taken(row.name) from None


def name_taken(name: str) -> NameTaken:
    return NameTaken(gettext("The name %(name)r is taken.") % {"name": name})

"""What a file would change: row by row new, changed from what to what, unchanged, or refused and why. Writes nothing.

A row is known by its `id`, else by its name. A column that the file has not is left alone, and so is whoever is not
in the file: nobody is deleted by absence.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from participants.exchange.columns import BY_NAME, Unreadable, Value
from participants.exchange.reading import Row
from participants.models import Institution, Participant

# A new participant begins in one of these; later its status changes by the steps of its life, each with its reason.
NEW_STATUSES = (Participant.Status.ACTIVE, Participant.Status.PENDING, Participant.Status.DISABLED)
_KNOWN_BY = ("id", "name")


class Verdict(models.TextChoices):
    REFUSED = "refused", gettext_lazy("refused")
    NEW = "new", gettext_lazy("new")
    CHANGED = "changed", gettext_lazy("changed")
    UNCHANGED = "unchanged", gettext_lazy("unchanged")


@dataclass(frozen=True)
class Difference:
    column: str
    before: Value
    after: Value


@dataclass(frozen=True)
class Fault:
    column: str  # empty: of the row as a whole
    why: str


@dataclass
class Entry:
    """Of one row. `participant`: as it would be; None where it is refused."""

    place: int
    name: str
    participant: Participant | None = None
    differences: list[Difference] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        if self.faults:
            return Verdict.REFUSED
        if self.participant is not None and self.participant._state.adding:
            return Verdict.NEW
        return Verdict.CHANGED if self.differences else Verdict.UNCHANGED


@dataclass
class Plan:
    entries: list[Entry]

    @cached_property
    def counts(self) -> dict[Verdict, int]:
        found = Counter(each.verdict for each in self.entries)
        return {verdict: found[verdict] for verdict in Verdict}

    @property
    def is_refused(self) -> bool:
        return bool(self.counts[Verdict.REFUSED])

    @property
    def changes_something(self) -> bool:
        return bool(self.counts[Verdict.NEW] or self.counts[Verdict.CHANGED])

    @cached_property
    def digest(self) -> str:
        """Of all that it shows: another file, or a registry that changed in what it touches, gives another."""
        said = [
            [each.place, each.participant and each.participant.pk, each.name, each.verdict.value]
            + [[one.column, one.before, one.after] for one in each.differences]
            + [[fault.column, fault.why] for fault in each.faults]
            for each in self.entries
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


@dataclass
class Registry:
    """What the plan needs to know of it, read at once."""

    by_id: dict[UUID, Participant]
    by_name: dict[str, Participant]
    institutions: dict[str, Institution]

    @classmethod
    def read(cls) -> Registry:
        rows = list(Participant.objects.present().select_related("institution"))
        return cls(
            {row.public_id: row for row in rows},
            {row.name: row for row in rows},
            {row.name: row for row in Institution.objects.present()},
        )


def make(rows: Iterable[Row], registry: Registry | None = None) -> Plan:
    known = registry or Registry.read()
    entries = [_entry(row, known) for row in rows]
    _refuse_doubles(entries)
    return Plan(entries)


def _entry(row: Row, known: Registry) -> Entry:
    entry = Entry(row.place, str(row.cells.get("name") or row.cells.get("id") or "")[:100])
    if row.fault:
        entry.faults.append(Fault("", row.fault))
        return entry
    values = _values(row, entry)
    if entry.faults:
        return entry
    stored = _stored(values, known, entry)
    if entry.faults:
        return entry
    if stored is not None:
        entry.name = stored.name
        participant = copy.copy(stored)
    else:
        # Of a new one, what is left empty is as in the form.
        values = {name: value for name, value in values.items() if value not in ("", None)}
        participant = Participant()
    _set(participant, stored, values, known, entry)
    if stored is not None and stored.is_relay and entry.differences:
        entry.faults.append(Fault("", _("is this relay's own entry, which nobody changes")))
    if stored is None or entry.differences:
        _validate(participant, stored, known, entry)
    entry.participant = None if entry.faults else participant
    return entry


def _values(row: Row, entry: Entry) -> dict[str, Value]:
    found = {}
    for name, cell in row.cells.items():
        try:
            found[name] = BY_NAME[name].read(cell)
        except Unreadable as error:
            entry.faults.append(Fault(name, str(error)))
    return found


def _stored(values: dict[str, Value], known: Registry, entry: Entry) -> Participant | None:
    """The participant that the row is of; None for a new one."""
    public_id, name = (str(values.get(each) or "") for each in _KNOWN_BY)
    if not public_id:
        if not name:
            entry.faults.append(Fault("name", _("must not be empty")))
        return known.by_name.get(name)
    try:
        found = known.by_id.get(UUID(public_id))
    except ValueError:
        found = None
    if found is None:
        entry.faults.append(Fault("id", _("nobody has it; a new participant has none")))
    return found


def _set(
    participant: Participant, stored: Participant | None, values: dict[str, Value], known: Registry, entry: Entry
) -> None:
    for name, value in values.items():
        column = BY_NAME[name]
        if name == "id":
            continue
        before = column.value(stored) if stored is not None else None
        if stored is not None and before == value:
            continue
        if name == "institution":
            institution = known.institutions.get(str(value))
            if institution is None:
                entry.faults.append(Fault(name, _("there is none of that name: add it first")))
                continue
            participant.institution = institution
        elif name == "status" and stored is not None:
            said = _("is %(status)s, and changes by the actions of the list, each with its reason")
            entry.faults.append(Fault(name, said % {"status": before}))
            continue
        else:
            setattr(participant, column.attribute, value)
        entry.differences.append(Difference(name, before, value))


def _validate(participant: Participant, stored: Participant | None, known: Registry, entry: Entry) -> None:
    named = {each.column for each in entry.faults}
    if not participant.institution_id and "institution" not in named:
        entry.faults.append(Fault("institution", _("must not be empty")))
    if stored is None and participant.status not in NEW_STATUSES:
        said = _("a new participant is %(statuses)s")
        entry.faults.append(Fault("status", said % {"statuses": ", ".join(NEW_STATUSES)}))
    holder = known.by_name.get(participant.name)
    if holder is not None and holder.pk != participant.pk:
        entry.faults.append(Fault("name", _("is taken")))
    try:
        participant.clean_fields(exclude={"institution", "status"} if stored is None else {"institution"})
    except ValidationError as error:
        entry.faults += [Fault(name, " ".join(said)) for name, said in error.message_dict.items()]


def _refuse_doubles(entries: list[Entry]) -> None:
    """Of two rows of one participant, or of one name, the later is refused."""
    seen: dict[Any, Entry] = {}
    for entry in entries:
        if entry.participant is None:
            continue
        row = entry.participant
        keys: list[tuple[str, Any]] = [("name", row.name), *([] if row._state.adding else [("id", row.pk)])]
        for key in keys:
            first = seen.setdefault(key, entry)
            if first is not entry and not entry.faults:
                entry.faults.append(Fault(key[0], _("the same as in row %(place)s") % {"place": first.place}))
        if entry.faults:
            entry.participant = None

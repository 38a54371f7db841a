"""What a file says of a participant: its columns, and how each is written and read. Pure; also in docs/exchange.md.

Nothing here is a secret: keys are never in a file.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.utils.translation import gettext as _

from participants.models import Participant

Value = str | int | bool | None

# A spreadsheet takes a cell that begins so for a formula. It is written with an apostrophe before it, as is a cell
# that has one itself, so that reading takes away what writing put there and nothing else.
_FORMULA = "=+-@\t\r\n＝＋－＠"
_GUARD = "'"

# What the spreadsheets of people here make of true and false.
_WORDS = {
    "true": True, "1": True, "yes": True, "jah": True, "tõene": True,
    "false": False, "0": False, "no": False, "ei": False, "väär": False,
}  # fmt: skip


class Kind(Enum):
    TEXT = "text"
    NUMBER = "number"
    TRUTH = "true or false"


class Unreadable(ValueError):
    """Why a cell cannot be read, for people."""


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind = Kind.TEXT
    field: str = ""  # of the model, where it has another name

    @property
    def attribute(self) -> str:
        return self.field or self.name

    def value(self, row: Participant) -> Value:
        """As JSON has it."""
        found: Any = getattr(row, self.attribute)
        return found if self.kind is not Kind.TEXT else str(found)

    def read(self, found: Any) -> Value:
        """From a cell or from JSON. Raises Unreadable."""
        if self.kind is Kind.TEXT:
            if found is None:
                return ""
            if not isinstance(found, str):
                raise Unreadable(_("must be a text"))
            if any(unicodedata.category(each) in ("Cc", "Cs") for each in found.strip()):
                raise Unreadable(_("must hold no line breaks and no other control characters"))
            return found.strip()
        if isinstance(found, str):
            found = found.strip()
        if self.kind is Kind.TRUTH:
            return _truth(found)
        return _number(found)


COLUMNS = (
    Column("id", field="public_id"),
    Column("name"),
    Column("institution"),
    Column("type"),
    Column("host"),
    Column("status"),
    Column("delivery_mode"),
    Column("success_statuses"),
    Column("source_networks"),
    Column("contact_name"),
    Column("contact_email"),
    Column("technical_name"),
    Column("technical_email"),
    Column("wants_receipts", Kind.TRUTH),
    Column("announcements"),
    Column("messages_per_second", Kind.NUMBER),
    Column("messages_burst", Kind.NUMBER),
    Column("stored_bytes_limit", Kind.NUMBER),
)
BY_NAME = {each.name: each for each in COLUMNS}


def written(value: Value) -> str:
    """As a cell of CSV, without what a spreadsheet would take for a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return _GUARD + text if text.startswith((_GUARD, *_FORMULA)) else text


def unguarded(cell: str) -> str:
    """A cell without the apostrophe that written() put before it."""
    is_guarded = cell.startswith(_GUARD) and cell[1:].startswith((_GUARD, *_FORMULA))
    return cell[1:] if is_guarded else cell


def _truth(found: Any) -> bool | None:
    if isinstance(found, bool):
        return found
    if found is None or found == "":
        return None
    if not isinstance(found, str) or found.lower() not in _WORDS:
        raise Unreadable(_("must be true or false"))
    return _WORDS[found.lower()]


def _number(found: Any) -> int | None:
    if found is None or found == "":
        return None
    if isinstance(found, bool) or not isinstance(found, (str, int)):
        raise Unreadable(_("must be a whole number"))
    if isinstance(found, str) and not (found.isascii() and found.isdecimal() and len(found) < 20):
        raise Unreadable(_("must be a whole number"))
    number = int(found)
    if not 0 <= number < 2**63:
        raise Unreadable(_("must be a whole number"))
    return number

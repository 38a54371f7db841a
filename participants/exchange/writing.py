"""Participants as CSV or JSON, row by row: 5,000 of them take no more memory than a few."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from typing import Any

from django.db.models import QuerySet

from dmr_project.lib.errors import InvalidInput
from participants import history, names
from participants.exchange.columns import COLUMNS, written
from participants.models import Participant

FORMATS = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
# What the spreadsheets of people here open by a double click: semicolons, and UTF-8 that says so.
DELIMITER = ";"
BYTE_ORDER_MARK = "\ufeff"

_BATCH = 500


def export(
    rows: QuerySet[Participant], form: str, *, actor: str, asked: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Notes who exports which, and returns the text piece by piece. Our own entry is not in it.

    `form`: csv or json. `asked`: by what the rows were chosen. Raises InvalidInput.
    """
    if form not in FORMATS:
        raise InvalidInput(f"The format is csv or json, not {form[:20]!r}.")
    rows = rows.exclude(name=names.RELAY).select_related("institution")
    count = rows.count()
    history.note(
        "export",
        actor,
        kind="participant",
        subject=f"{count} participants as {form.upper()}",
        after={**(asked or {}), "format": form, "count": count},
    )
    found = rows.iterator(chunk_size=_BATCH)
    return _csv(found) if form == "csv" else _json(found)


class _Line:
    """For csv.writer: what it writes is what writerow() returns."""

    def write(self, text: str) -> str:
        return text


def _csv(rows: Iterator[Participant]) -> Iterator[str]:
    # All quoted, so that a cell ends where it ends whichever delimiter a spreadsheet expects.
    writer: Any = csv.writer(_Line(), delimiter=DELIMITER, quoting=csv.QUOTE_ALL)
    yield BYTE_ORDER_MARK + writer.writerow([each.name for each in COLUMNS])
    for row in rows:
        yield writer.writerow([written(each.value(row)) for each in COLUMNS])


def _json(rows: Iterator[Participant]) -> Iterator[str]:
    """A list, an object a line."""
    before = "[\n"
    for row in rows:
        yield before + json.dumps({each.name: each.value(row) for each in COLUMNS}, ensure_ascii=False)
        before = ",\n"
    yield "\n]\n" if before == ",\n" else "[]\n"

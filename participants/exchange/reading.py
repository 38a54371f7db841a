"""A file of participants as rows: which encoding, which delimiter, which columns. Reads nothing of the registry."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from typing import Any

from django.utils.translation import gettext as _

from dmr_project.lib.errors import InvalidInput
from participants.exchange.columns import BY_NAME, unguarded

MOST_BYTES = 4 * 1024 * 1024
MOST_ROWS = 10_000
DELIMITERS = ";,\t"
WORKBOOK = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods; .xls
BALTIC = "cp1257"  # what Windows in Estonian calls ANSI


@dataclass(frozen=True)
class Row:
    """`place`: the line in the file, or in JSON the object's number; `cells`: those that the file has, as written."""

    place: int
    cells: dict[str, Any]
    fault: str = ""


@dataclass(frozen=True)
class Read:
    text: str
    how: str  # for people, such as: CSV with semicolons, UTF-8
    rows: list[Row]


def read(content: bytes) -> Read:
    """Raises InvalidInput, which says what of the file as a whole cannot be read."""
    if len(content) > MOST_BYTES:
        raise refused(_("The file is larger than %(most)s bytes.") % {"most": MOST_BYTES})
    if content.startswith(WORKBOOK):
        raise refused(_("This is a workbook of a spreadsheet program: save it as CSV there, and send that."))
    text, encoding = decoded(content)
    if not text.strip():
        raise refused(_("The file is empty."))
    if text.lstrip()[0] in "[{":
        return Read(text, f"JSON, {encoding}", _limited(_json_rows(text)))
    lines, delimiter, skipped = _delimited(text)
    name = {";": _("semicolons"), ",": _("commas"), "\t": _("tabs")}[delimiter]
    how = _("CSV with %(delimiter)s, %(encoding)s") % {"delimiter": name, "encoding": encoding}
    return Read(text, how, _limited(_csv_rows(lines, delimiter, skipped)))


def decoded(content: bytes) -> tuple[str, str]:
    """As UTF-8; as UTF-16 where it says so; else as Windows in Estonian writes. With the name of the encoding."""
    marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text, name = content.decode("utf-16" if marked else "utf-8-sig"), "UTF-16" if marked else "UTF-8"
    except UnicodeDecodeError:
        try:
            text, name = content.decode(BALTIC), "Windows-1257"
        except UnicodeDecodeError as error:
            said = _("The file is neither UTF-8 nor Windows-1257: byte %(place)s.")
            raise refused(said % {"place": error.start}) from None
    if "\0" in text:
        raise refused(_("The file holds NUL characters: it is no text."))
    return text, name


def refused(detail: str) -> InvalidInput:
    return InvalidInput(detail, errors=[{"field": "file", "detail": detail}])


def _delimited(text: str) -> tuple[str, str, int]:
    """The lines without the one by which a spreadsheet may say its delimiter; that, or what parts the first line
    most; and how many lines were skipped."""
    first, _end, rest = text.partition("\n")
    said = first.strip().strip('"').lower()
    if said.startswith("sep=") and said[4:] in tuple(DELIMITERS):
        return rest, said[4:], 1
    return text, max(DELIMITERS, key=first.count), 0


def _csv_rows(text: str, delimiter: str, skipped: int) -> Iterator[Row]:
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        head = [each.strip() for each in next(reader, [])]
        while head and not head[-1]:  # columns that a spreadsheet left behind
            head.pop()
        _check_columns(head)
        for cells in reader:
            if not any(each.strip() for each in cells):
                continue
            fault = ""
            if len(cells) < len(head) or any(each.strip() for each in cells[len(head) :]):
                numbers = {"cells": len(cells), "columns": len(head)}
                fault = _("has %(cells)s cells for %(columns)s columns") % numbers
            yield Row(reader.line_num + skipped, dict(zip(head, map(unguarded, cells), strict=False)), fault)
    except csv.Error as error:
        said = _("Line %(line)s is no CSV: %(error)s.") % {"line": reader.line_num + skipped, "error": error}
        raise refused(said) from None


def _json_rows(text: str) -> Iterator[Row]:
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError:
        raise refused(_("The file is no JSON that holds participants.")) from None
    except ValueError as error:
        raise refused(_("The file is no JSON: %(error)s.") % {"error": str(error).rstrip(".")}) from None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise refused(_("JSON must be a list of objects, one for each participant."))
    if found:
        _check_columns(list(dict.fromkeys(name for each in found for name in each)))
    for number, each in enumerate(found, 1):
        yield Row(number, each)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _value in pairs]
    if len(set(names)) < len(names):
        raise ValueError(_("an object has a key twice"))
    return dict(pairs)


def _no_number(text: str) -> None:
    raise ValueError(f"{text}")


def _check_columns(names: list[str]) -> None:
    unknown = [each[:50] or "–" for each in names if each not in BY_NAME]
    if unknown:
        raise refused(_("There is no such column: %(names)s.") % {"names": ", ".join(unknown[:20])})
    double = sorted(each for each, count in Counter(names).items() if count > 1)
    if double:
        raise refused(_("A column stands there twice: %(names)s.") % {"names": ", ".join(double)})
    if "id" not in names and "name" not in names:
        raise refused(_("There must be a column name or id, by which participants are known."))


def _limited(rows: Iterator[Row]) -> list[Row]:
    found: list[Row] = []
    for row in rows:
        if len(found) == MOST_ROWS:
            raise refused(_("The file has more than %(most)s participants.") % {"most": MOST_ROWS})
        found.append(row)
    if not found:
        raise refused(_("The file names no participant."))
    return found

"""Files as spreadsheets in Estonia write them are read; what cannot be read is refused, and says why."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dmr_project.lib.errors import InvalidInput
from participants.exchange import reading
from participants.exchange.columns import BY_NAME, Unreadable

HEAD, ROW = "name;contact_name", "tax-bot;Õnne Žürii"
CELLS = {"name": "tax-bot", "contact_name": "Õnne Žürii"}


@pytest.mark.parametrize(
    ("content", "how"),
    [
        (f"{HEAD}\r\n{ROW}\r\n".encode(), "CSV with semicolons, UTF-8"),
        (f"{HEAD}\n{ROW}".encode("utf-8-sig"), "CSV with semicolons, UTF-8"),
        (f"{HEAD}\r\n{ROW}\r\n".encode("cp1257"), "CSV with semicolons, Windows-1257"),
        (f"{HEAD}\r\n{ROW}\r\n".replace(";", "\t").encode("utf-16"), "CSV with tabs, UTF-16"),
        (f"{HEAD}\n{ROW}\n".replace(";", ",").encode(), "CSV with commas, UTF-8"),
        (f"sep=;\r\n{HEAD}\r\n{ROW}\r\n".encode(), "CSV with semicolons, UTF-8"),
        ('"name";"contact_name"\n\n;\n"tax-bot";"Õnne Žürii";\n'.encode(), "CSV with semicolons, UTF-8"),
        (f"{HEAD};;\n{ROW};;\n".encode(), "CSV with semicolons, UTF-8"),
        (json.dumps([CELLS]).encode(), "JSON, UTF-8"),
        (json.dumps([CELLS], ensure_ascii=False).encode("utf-8-sig"), "JSON, UTF-8"),
    ],
)
def test_encodings_and_delimiters(content: bytes, how: str) -> None:
    found = reading.read(content)
    assert found.how == how
    assert [row.cells for row in found.rows] == [CELLS]
    assert not found.rows[0].fault


def test_rows_are_named_by_their_line() -> None:
    text = 'sep=;\nname;contact_name\ntax-bot;"two\nlines"\n\nsorter;x\n'
    assert [row.place for row in reading.read(text.encode()).rows] == [4, 6]
    assert [row.place for row in reading.read(b'[{"name": "a"}, {"name": "b"}]').rows] == [1, 2]


def test_a_row_of_another_length_is_at_fault_and_others_are_not() -> None:
    rows = reading.read(b"name;host\ntax-bot;http://a/;more\nsorter\npolice;http://b/\n").rows
    assert [bool(row.fault) for row in rows] == [True, True, False]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"  \r\n", "empty"),
        (b"name;apiKey;secret\nx;y;z\n", "no such column: apiKey, secret"),
        (b"name;;host\nx;;z\n", "no such column: –"),
        (b"name;host;name\nx;y;z\n", "twice: name"),
        (b"host\nhttp://a/\n", "column name or id"),
        (b"name\n", "names no participant"),
        (b'name;host\n"x;y\n', "Line 2 is no CSV"),
        (b"name\nx\0y\n", "NUL"),
        (b"\xff\xfen", "no such column"),
        (b"name\n\xa1\x81\n", "neither UTF-8 nor Windows-1257"),
        (b"PK\x03\x04", "save it as CSV"),
        (b"id;" * 1_000_000, "twice: id"),  # in less than a century
        (b'{"name": "x"}', "list of objects"),
        (b"[1]", "list of objects"),
        (b"[]", "names no participant"),
        (b"[" * 100_000, "no JSON"),
        (b'[{"name": "x", "name": "y"}]', "twice"),
        (b'[{"name": NaN}]', "no JSON"),
        (b'[{"name": "x", "key": "y"}]', "no such column: key"),
        (b"x" * (reading.MOST_BYTES + 1), "larger than"),
        (b"name\n" + b"x\n" * (reading.MOST_ROWS + 1), "more than 10000"),
    ],
)
def test_what_cannot_be_read_says_why(content: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        reading.read(content)


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ("name", " tax-bot ", "tax-bot"),
        ("contact_name", None, ""),
        ("wants_receipts", "TÕENE", True),
        ("wants_receipts", "VÄÄR", False),
        ("wants_receipts", "Jah", True),
        ("wants_receipts", "0", False),
        ("wants_receipts", True, True),
        ("wants_receipts", "", None),
        ("messages_burst", "12", 12),
        ("messages_burst", 12, 12),
        ("messages_burst", " ", None),
        ("messages_burst", None, None),
    ],
)
def test_cells_become_values(column: str, cell: Any, value: Any) -> None:
    assert BY_NAME[column].read(cell) == value


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("name", 5),
        ("name", ["x"]),
        ("contact_name", "a\nb"),
        ("contact_name", "a\0b"),
        ("contact_name", "\ud800"),
        ("wants_receipts", "maybe"),
        ("wants_receipts", 1.0),
        ("messages_burst", "1,5"),
        ("messages_burst", "-1"),
        ("messages_burst", 1.5),
        ("messages_burst", True),
        ("messages_burst", "9" * 30),
        ("messages_burst", 2**63),
    ],
)
def test_cells_that_cannot_be_read_are_refused(column: str, cell: Any) -> None:
    with pytest.raises(Unreadable):
        BY_NAME[column].read(cell)

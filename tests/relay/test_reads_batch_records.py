"""The framing of a batch: what is a record, and which error names which."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import records
from relay.envelope import InvalidHeader
from relay.records import BatchTooLarge, BrokenBatch, Record


def written(payload: bytes, **headers: Any) -> bytes:
    said = {**{name.replace("_", "-"): value for name, value in headers.items()}, "Content-Length": len(payload)}
    return json.dumps(said).encode() + b"\n" + payload + b"\n"


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=20))
def test_payloads_come_out_as_they_went_in(payloads: list[bytes]) -> None:
    body = b"".join(written(payload, X_Message_Id=str(number)) for number, payload in enumerate(payloads))
    found = records.read(body)
    assert [record.payload for record in found] == payloads
    assert [record.said["X-Message-Id"] for record in found] == [str(number) for number in range(len(payloads))]
    assert [record.payload for record in records.read(body[:-1])] == payloads, "the last line feed may be left out"


@given(st.binary(max_size=300))
def test_whatever_the_body_is_it_is_taken_apart_or_refused(body: bytes) -> None:
    with contextlib.suppress(BrokenBatch):
        records.read(body)


GOOD = written(b"hello")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"\n", "Record 1, at byte 0: its line of headers is not a JSON object"),
        (GOOD + b"[1]\n", f"Record 2, at byte {len(GOOD)}: its line of headers is not a JSON object"),
        (GOOD + b'{"X-Send-To": "caf\xe9", "Content-Length": 0}\n', "Record 2"),
        (b"[" * 5000 + b"\n", "not a JSON object"),
        (b'{"a": "b"}\nhello\n', "no Content-Length"),
        (b'{"Content-Length": -1}\nhello\n', "no Content-Length"),
        (b'{"Content-Length": true}\nhello\n', "no Content-Length"),
        (b'{"Content-Length": 5.0}\nhello\n', "no Content-Length"),
        (b'{"Content-Length": "five"}\nhello\n', "no Content-Length"),
        (b'{"Content-Length": 1' + b"0" * 400 + b"}\nhello\n", "no Content-Length"),
        (b'{"Content-Length": 5}\nhell', "Content-Length says 5 bytes, but only 4 follow"),
        (b'{"Content-Length": 4}\nhello\n', "Record 1, at byte 26: no line feed follows the 4 bytes"),
        (b'{"Content-Length": 6}\nhello\n' + GOOD, "Record 1, at byte 28: no line feed follows the 6 bytes"),
        (b'{"Content-Length": 5}', "no line feed ends its line"),
        (b'{"a": "' + b"b" * records.LONGEST_LINE + b'", "Content-Length": 5}\nhello\n', "within 8192 bytes"),
    ],
)
def test_a_broken_frame_is_named(body: bytes, said: str) -> None:
    with pytest.raises(BrokenBatch) as raised:
        records.read(body)
    assert said in raised.value.detail
    assert "hell" not in raised.value.detail, "no part of a body is quoted"


@pytest.mark.parametrize("length", ['"5"', "5"])
@pytest.mark.parametrize("name", ["Content-Length", "content-length"])
def test_the_length_may_be_written_either_way(name: str, length: str) -> None:
    assert records.read(f'{{"{name}": {length}}}\nhello\n'.encode())[0].payload == b"hello"


def test_there_is_a_most() -> None:
    assert len(records.read(GOOD * records.MOST_RECORDS)) == records.MOST_RECORDS
    with pytest.raises(BatchTooLarge):
        records.read(GOOD * (records.MOST_RECORDS + 1))


def test_headers_are_read_as_those_of_a_request() -> None:
    record = Record({"x-send-to": "police", "Content-Type": "text/plain", "TTL": 60, "X-Model-Type": None}, b"")
    assert records.headers(record) == {
        "HTTP_X_SEND_TO": "police",
        "CONTENT_TYPE": "text/plain",
        "HTTP_TTL": "60",
    }


@pytest.mark.parametrize("value", [True, 1.5, [], {}])
def test_a_header_that_is_no_text_is_named(value: Any) -> None:
    with pytest.raises(InvalidHeader) as raised:
        records.headers(Record({"X-Send-To": value, "\ud800": value}, b""))
    assert [each["header"] for each in raised.value.errors] == ["X-Send-To", "\\ud800"]

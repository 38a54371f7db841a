"""dmr_project.lib.body: whole, within the limit, and in time."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dmr_project.lib import body
from dmr_project.lib.body import BodyCutShort, BodyStalled, LengthRequired, PayloadTooLarge


async def chunks(*pieces: bytes, pause: float = 0.0) -> AsyncIterator[bytes]:
    for piece in pieces:
        await asyncio.sleep(pause)
        yield piece


def collect(source: AsyncIterator[bytes], length: int) -> bytes:
    return asyncio.run(body.collect(source, length))


@pytest.mark.parametrize("pieces", [[], [b"x"], [b"hello", b" ", b"world"], [bytes(range(256))]])
def test_collects_all(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    assert collect(chunks(*pieces), len(whole)) == whole


@pytest.mark.parametrize(("pieces", "got"), [([], 0), ([b"hel", b"lo"], 5)])
def test_refuses_one_cut_short(pieces: list[bytes], got: int) -> None:
    with pytest.raises(BodyCutShort, match=f"only {got} arrived"):
        collect(chunks(*pieces), 6)


def test_gives_up_on_one_that_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "STALL_SECONDS", 0.05)
    with pytest.raises(BodyStalled, match="Only 0 of 5"):
        collect(chunks(b"hello", pause=5), 5)


def test_gives_up_on_one_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "TOTAL_SECONDS", 0.1)
    with pytest.raises(BodyStalled):
        collect(chunks(*[b"x"] * 100, pause=0.02), 100)


def request(content: bytes, length: str | None = None, **more: str) -> dict[str, Any]:
    written = str(len(content)) if length is None else length
    return {"CONTENT_LENGTH": written, "wsgi.input": io.BytesIO(content), **more}


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 10, bytes(range(256))])
def test_reads_all(content: bytes) -> None:
    assert body.read_whole(request(content), 1000) == content


def test_reads_no_more_than_the_length() -> None:
    assert body.read_whole(request(b"hello, and the next request", "5"), 1000) == b"hello"


def test_refuses_one_that_lacks_bytes() -> None:
    with pytest.raises(BodyCutShort, match="only 5 arrived"):
        body.read_whole(request(b"hello", "6"), 1000)


def test_refuses_one_too_long() -> None:
    with pytest.raises(PayloadTooLarge, match=r"11 bytes; at most 10"):
        body.read_whole(request(b"x" * 11), 10)


def test_refuses_chunks() -> None:
    with pytest.raises(LengthRequired):
        body.read_whole(request(b"x", HTTP_TRANSFER_ENCODING="chunked"), 10)


@pytest.mark.parametrize("length", ["", "-5", "x", "²", "1.5"])
def test_length_that_is_none_is_no_body(length: str) -> None:
    assert body.declared_length({"CONTENT_LENGTH": length}) == 0
    assert body.declared_length({}) == 0

"""dmr_project.lib.body: whole, within the limit, and in time."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest

from dmr_project.lib import body
from dmr_project.lib.body import Body, BodyCutShort, BodyStalled, LengthRequired, PayloadTooLarge


def request(content: bytes, length: str | None = None, **more: str) -> dict[str, Any]:
    written = str(len(content)) if length is None else length
    number = int(written) if written.isdigit() else 0
    return {"CONTENT_LENGTH": written, "wsgi.input": Body(io.BytesIO(content), number), **more}


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 10, bytes(range(256))])
def test_reads_all(content: bytes) -> None:
    assert body.read_whole(request(content), 1000) == content


def test_reads_no_more_than_the_length() -> None:
    assert body.read_whole(request(b"hello, and the next request", "5"), 1000) == b"hello"


@pytest.mark.parametrize("length", ["6", "1000"])
def test_refuses_one_cut_short(length: str) -> None:
    with pytest.raises(BodyCutShort, match=r"only 5 arrived"):
        body.read_whole(request(b"hello", length), 1000)


def test_refuses_one_too_long_after_taking_it() -> None:
    environ = request(b"x" * 11)
    with pytest.raises(PayloadTooLarge, match=r"11 bytes; at most 10"):
        body.read_whole(environ, 10)
    assert environ["wsgi.input"].remaining == 0, "taken, so that the client comes to read the answer"


def test_does_not_take_one_that_is_endless() -> None:
    environ = request(b"x", str(body.DRAIN_BYTES + 1))
    with pytest.raises(PayloadTooLarge):
        body.read_whole(environ, 10)
    assert environ["wsgi.input"].remaining == body.DRAIN_BYTES + 1


def test_refuses_chunks() -> None:
    with pytest.raises(LengthRequired):
        body.read_whole(request(b"x", HTTP_TRANSFER_ENCODING="chunked"), 10)


@pytest.mark.parametrize("length", ["", "-5", "x", "²", "1.5"])
def test_length_that_is_none_is_no_body(length: str) -> None:
    assert body.declared_length({"CONTENT_LENGTH": length}) == 0
    assert body.declared_length({}) == 0


def test_gives_up_on_one_that_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "STALL_SECONDS", 0.05)
    gone = threading.Event()

    class Stalled:
        def read(self, size: int = -1, /) -> bytes:
            gone.wait(5)
            return b""

    with pytest.raises(BodyStalled):
        Body(Stalled(), 10).read()
    gone.set()


def test_django_reads_in_pieces() -> None:
    source = Body(io.BytesIO(b"hello world"), 11)
    assert (source.read(5), source.read(0), source.read(100), source.read(5)) == (b"hello", b"", b" world", b"")

"""HTTP as we speak it to an endpoint, byte by byte, and what we make of answers, common and odd."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from yarl import URL

from dmr_project.lib import http, loops
from dmr_project.lib.http import AddressGuard, open_session

OPEN = AddressGuard(private_allowed=True)
GOOD = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
YES = b"HTTP/1.1 202 Yes\r\n"
CUT = b""  # stands for closing the connection
THEN = b"<then>"


@dataclass
class Server:
    """Answers each request with the next of `answers`, as it stands there; after them, each with GOOD.

    Where THEN stands in it, what follows comes a moment later.
    """

    answers: list[bytes] = field(default_factory=list)
    url: str = ""
    greeting: bytes = b""  # said at once
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)  # by the client, at least one
    body_waits_for: asyncio.Event | None = None  # it is read, after the answer, when this is set
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    serving: set[Any] = field(default_factory=set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/way/in?a=1%202"
        try:
            yield self
        finally:
            server.close()
            for task in self.serving:
                task.cancel()
            await asyncio.gather(*self.serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        self.serving.add(asyncio.current_task())
        writer.write(self.greeting)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + (b"" if self.body_waits_for else await reader.readexactly(length)))
                answer = self.answers.pop(0) if self.answers else GOOD
                if answer == CUT:
                    return
                for place, piece in enumerate(answer.split(THEN)):
                    await asyncio.sleep(0.02 if place else 0)
                    writer.write(piece)
                if self.body_waits_for:
                    await self.body_waits_for.wait()
                    await reader.readexactly(length)
                if b"close" in answer.lower() or answer.startswith(b"HTTP/1.0"):
                    return
        except (OSError, asyncio.IncompleteReadError):
            self.closed.set()
        except asyncio.CancelledError:  # the test is over
            pass
        finally:
            writer.close()


def talk(server: Server, say: Callable[[http.Session], Awaitable[Any]]) -> Any:
    """What comes of `say`, on one session."""

    async def scenario() -> Any:
        async with server.running(), open_session(OPEN, connections=10, per_host=0, total_seconds=2) as session:
            return await say(session)

    return loops.run(scenario())


def posted(server: Server, times: int = 1, body: bytes = b"body") -> list[http.Answer]:
    """That many, one after the other."""

    async def say(session: http.Session) -> list[http.Answer]:
        return [await http.post(session, server.url, body, {"X-Sent-By": "tax-board"}) for _ in range(times)]

    found: list[http.Answer] = talk(server, say)
    return found


# -- the request --


def test_a_request_as_it_is_written() -> None:
    server = Server()
    posted(server, body=b"\x00\r\n\r\n\xff")
    host = server.url.split("/")[2].encode()
    assert server.requests == [
        b"POST /way/in?a=1%202 HTTP/1.1\r\nHost: " + host + b"\r\nX-Sent-By: tax-board\r\nContent-Length: 6\r\n"
        b"User-Agent: dmr-relay\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\r\n\x00\r\n\r\n\xff"
    ]


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://bot", "/", "bot"),
        ("http://bot:80/a", "/a", "bot"),
        ("https://bot:443/a", "/a", "bot"),
        ("http://bot:443/a", "/a", "bot:443"),
        ("http://[::1]:8080/a", "/a", "[::1]:8080"),
        ("http://bot./a", "/a", "bot"),
        ("http://kõne.ee/õ ö", "/%C3%B5%20%C3%B6", "xn--kne-ona.ee"),
        ("http://bot/a#there", "/a", "bot"),
    ],
)
def test_where_a_request_goes_is_said(url: str, line: str, host: str) -> None:
    assert http.head(URL(url), {}, 0).decode().startswith(f"POST {line} HTTP/1.1\r\nHost: {host}\r\n")


@pytest.mark.parametrize("value", ["a\r\nX-More: b", "a\nX-More: b", "a\rb", "a\0b"])
def test_a_header_cannot_make_another(value: str) -> None:
    for headers in ({"X-Model-Type": value}, {f"X-Model-Type: {value}": "a"}):
        with pytest.raises(ValueError, match="line break"):
            http.head(URL("http://bot/"), headers, 0)


def test_what_is_too_late_is_not_sent() -> None:
    """There is a connection, and it is used for what comes in time."""
    server = Server()

    async def say(session: http.Session) -> http.Answer:
        with pytest.raises(http.TooLate):
            await http.post(session, server.url, b"late", {}, None, time.time() - 0.001)
        return await http.post(session, server.url, b"body", {}, None, time.time() + 60)

    assert talk(server, say).status == 202
    assert (server.connections, [each[-4:] for each in server.requests]) == (1, [b"body"])


# -- the answer --


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        pytest.param(GOOD, 202, b"", id="without a body"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", id="that has no body"),
        pytest.param(b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops", 500, b"oops", id="with a body"),
        pytest.param(
            YES + b"Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: a\r\n\r\n",
            202,
            b"hello",
            id="in chunks",
        ),
        pytest.param(
            b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\no" + THEN + b"op" + THEN + b"s",
            500,
            b"oops",
            id="in pieces",
        ),
        pytest.param(
            YES + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n" + THEN + b"0\r\n\r\n",
            202,
            b"hi",
            id="whose last chunk ends by itself",
        ),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD, 202, b"", id="after a 100"),
        pytest.param(
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Wait\r\n\r\n" + GOOD,
            202,
            b"",
            id="after others",
        ),
    ],
)
def test_an_answer_is_read_and_its_connection_kept(answer: bytes, status: int, said: bytes) -> None:
    server = Server([answer])
    assert [(each.status, each.body) for each in posted(server, 2)] == [(status, said), (202, b"")]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        pytest.param(YES + b"Connection: close\r\nContent-Length: 0\r\n\r\n", 202, b"", id="last of all"),
        pytest.param(b"HTTP/1.0 202 Yes\r\nContent-Length: 2\r\n\r\nhi", 202, b"hi", id="of HTTP/1.0"),
        pytest.param(YES + b"Connection: close\r\n\r\nhi", 202, b"hi", id="that ends with the connection"),
        pytest.param(GOOD + GOOD, 202, b"", id="with another behind it"),
        pytest.param(YES + b"Content-Length: 9\r\n\r\nhi", 202, b"hi", id="whose rest does not come"),
        pytest.param(
            YES + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n" + THEN + b"none\r\n",
            202,
            b"hi",
            id="that goes wrong",
        ),
        pytest.param(
            b"HTTP/1.1 101 Go\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 101, b"", id="of another kind"
        ),
    ],
)
def test_an_answer_after_which_the_connection_is_not_used(answer: bytes, status: int, said: bytes) -> None:
    server = Server([answer])
    assert [(each.status, each.body) for each in posted(server, 2)] == [(status, said), (202, b"")]
    assert server.connections == 2


def test_an_answer_in_the_last_moment_counts() -> None:
    """Its rest is not waited for until the exchange's time is over."""

    async def scenario() -> http.Answer:
        server = Server([YES + b"Content-Length: 9\r\n\r\nhi"])
        async with server.running(), open_session(OPEN, connections=1, per_host=0, total_seconds=0.1) as session:
            return await http.post(session, server.url, b"body", {})

    assert loops.run(scenario()).status == 202


def test_answers_that_only_announce_others_end() -> None:
    announced = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert posted(Server([announced * http.MOST_ANNOUNCED + GOOD]))[0].status == 202
    began = time.monotonic()
    with pytest.raises(http.AnswerUnreadable):
        posted(Server([announced * (http.MOST_ANNOUNCED + 1)]))
    assert time.monotonic() - began < 1, "and not when the time is over"


def test_names_of_headers_are_in_lower_case() -> None:
    server = Server([b"HTTP/1.1 503 No\r\nRETRY-After:  7 \r\nContent-Length: 0\r\n\r\n"])
    assert posted(server)[0].headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (CUT, aiohttp.ServerDisconnectedError),
        (GOOD + b"more", http.AnswerUnreadable),
        (b"SSH-2.0-OpenSSH_9.6\r\n", http.AnswerUnreadable),
        (b"HTTP/1.1 99999 No\r\n\r\n", http.AnswerUnreadable),
        (YES + b"Content-Length: 5, 6\r\n\r\n", http.AnswerUnreadable),
        (YES + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", http.AnswerUnreadable),
        (YES + b"Transfer-Encoding: chunked\r\n\r\nnone\r\n", http.AnswerUnreadable),
    ],
)
def test_what_is_no_answer_is_an_error_and_costs_the_next_one_nothing(answer: bytes, error: type[Exception]) -> None:
    server = Server([answer])

    async def say(session: http.Session) -> http.Answer:
        with pytest.raises(error):
            await http.post(session, server.url, b"body", {})
        return await http.post(session, server.url, b"body", {})

    assert talk(server, say).status == 202
    assert server.connections == 2


# -- the connection --


def test_what_comes_unasked_is_not_taken_for_the_next_answer() -> None:
    server = Server([GOOD])

    async def say(session: http.Session) -> list[int]:
        first = await http.post(session, server.url, b"body", {})
        server.writers[0].write(b"HTTP/1.1 408 Too Slow\r\nContent-Length: 0\r\n\r\n")
        while not any(kept.should_close for kept, _ in next(iter(session.connector._conns.values()))):
            await asyncio.sleep(0)
        return [first.status, (await http.post(session, server.url, b"body", {})).status]

    assert talk(server, say) == [202, 202]
    assert server.connections == 2


def test_one_that_speaks_first_is_given_up_and_not_connected_to_without_end() -> None:
    server = Server(greeting=b"220 mail.example ESMTP\r\n")

    async def say(session: http.Session) -> None:
        with pytest.raises(aiohttp.ClientError):
            await http.post(session, server.url, b"body", {})

    talk(server, say)
    assert server.connections <= http.MOST_SPOILT


def test_one_that_was_closed_meanwhile_is_not_used() -> None:
    server = Server()

    async def say(session: http.Session) -> int:
        await http.post(session, server.url, b"body", {})
        for task in server.serving:
            task.cancel()
        await asyncio.gather(*server.serving, return_exceptions=True)
        await asyncio.sleep(0)  # the event loop hears of it
        return (await http.post(session, server.url, b"body", {})).status

    assert talk(server, say) == 202
    assert server.connections == 2


def test_an_answer_before_the_request_was_read_does_not_hold_the_connection() -> None:
    """Refused at its head, with megabytes unsent: the answer counts, and nobody waits for the rest to be taken."""

    async def scenario() -> int:
        server = Server([b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"], body_waits_for=asyncio.Event())
        assert server.body_waits_for is not None
        async with server.running(), open_session(OPEN, connections=10, per_host=0, total_seconds=2) as session:
            status = (await http.post(session, server.url, bytes(30_000_000), {})).status
            server.body_waits_for.set()
            await asyncio.wait_for(server.closed.wait(), 2)  # in the midst of it
        return status

    assert loops.run(scenario()) == 413


def test_an_attempt_that_is_cancelled_takes_its_connection_along() -> None:
    server = Server([YES + b"Content-Length: 9\r\n"])  # and never more

    async def say(session: http.Session) -> int:
        task = asyncio.ensure_future(http.post(session, server.url, b"body", {}))
        while not server.requests:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.closed.wait(), 2)
        return (await http.post(session, server.url, b"body", {})).status

    assert talk(server, say) == 202
    assert server.connections == 2


def test_at_the_same_time_each_gets_its_own_answer() -> None:
    answers = [f"HTTP/1.1 {status} Some\r\nContent-Length: 3\r\n\r\n{status}".encode() for status in range(200, 260)]
    server = Server([each for each in answers if not each.startswith((b"HTTP/1.1 204", b"HTTP/1.1 205"))])

    async def say(session: http.Session) -> list[http.Answer]:
        found = await asyncio.gather(*(http.post(session, server.url, b"body", {}) for _ in range(50)))
        return list(found)

    found = talk(server, say)
    assert {each.status for each in found} <= set(range(200, 260))
    assert all(each.body == str(each.status).encode() for each in found)
    assert server.connections <= 10, "as many as the session may have"

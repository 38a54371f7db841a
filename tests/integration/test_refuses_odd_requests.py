"""What no well-behaved client sends, byte by byte: refused cleanly, and the server goes on."""

from __future__ import annotations

import http.client
import json
import socket
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.integration.product import Participant, Product, wait_until
from tests.integration.sinks import Sink

MakeSink = Callable[..., Sink]


@pytest.fixture
def sender(product: Product, sink: MakeSink) -> Participant:
    return product.register(sink().url)


@pytest.fixture(autouse=True)
def goes_on(product: Product, sink: MakeSink) -> Iterator[None]:
    """After each of these the product still takes and delivers a message, and has said no traceback."""
    said = len(product.output)
    yield
    into = sink()
    sender, recipient = product.register(sink().url), product.register(into.url)
    into.wait_for(product.send(sender, recipient.name))
    assert "Traceback" not in product.output[said:], product.output[said:]


def head(sender: Participant, *more: str, path: str = "/messages", method: str = "POST") -> bytes:
    """The request's head for a message to itself, with more header lines."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: dmr.test",
        f"X-Api-Key: {sender.key}",
        f"X-Sent-By: {sender.name}",
        f"X-Send-To: {sender.name}",
        f"X-Message-Id: {uuid.uuid4()}",
        *more,
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def exchange(product: Product, data: bytes, *, then_close: bool = False) -> tuple[int, bytes]:
    """Sends the bytes, ends our side where `then_close`; the answer's status and body, 0 where there is none."""
    with socket.create_connection(("127.0.0.1", product.port), timeout=20) as connection:
        connection.sendall(data)
        if then_close:
            connection.shutdown(socket.SHUT_WR)
        return read_answer(connection)


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(connection)
    try:
        response.begin()
        return response.status, response.read()
    except (http.client.HTTPException, ConnectionError):
        return 0, b""
    finally:
        response.close()


def is_refused(status: int) -> bool:
    """By us, by the server before us, or by hanging up."""
    return status == 0 or 400 <= status < 500


def test_body_shorter_than_its_length(product: Product, sender: Participant) -> None:
    before = product.metric("dmr_messages_accepted_total")
    with socket.create_connection(("127.0.0.1", product.port), timeout=20) as connection:
        connection.sendall(head(sender, "Content-Length: 100") + b"only this")
        connection.shutdown(socket.SHUT_WR)
        status, said = read_answer(connection)
    # The server may close on a client that has closed first; it must not accept.
    if status:
        assert status == 400
        assert b"urn:problem-type:dmr:body-cut-short" in said
    assert product.metric("dmr_messages_accepted_total") == before


@pytest.mark.slow  # it waits for ten seconds
def test_body_that_stalls(product: Product, sender: Participant) -> None:
    began = time.monotonic()
    status, said = exchange(product, head(sender, "Content-Length: 100") + b"only this")
    assert status == 408
    assert b"urn:problem-type:dmr:body-stalled" in said
    assert 9 < time.monotonic() - began < 14


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"5\r\nhello\r\n0\r\n\r\n", id="whole"),
        pytest.param(b"5\r\nhel", id="cut short"),
        pytest.param(b"zz\r\n", id="broken"),
    ],
)
def test_chunked_body(product: Product, sender: Participant, body: bytes) -> None:
    status, said = exchange(product, head(sender, "Transfer-Encoding: chunked") + body)
    assert status in (411, 400)
    if body.endswith(b"0\r\n\r\n"):
        assert status == 411
        assert b"urn:problem-type:dmr:length-required" in said


def test_chunked_body_of_the_registry(product: Product, sender: Participant) -> None:
    path = "/centops/public/participants/my/state"
    data = head(sender, "Transfer-Encoding: chunked", path=path) + b'8\r\n"Active"\r\n0\r\n\r\n'
    assert exchange(product, data)[0] == 411


def test_both_lengths(product: Product, sender: Participant) -> None:
    """The classic of request smuggling."""
    more = ("Content-Length: 5", "Transfer-Encoding: chunked")
    status, _ = exchange(product, head(sender, *more) + b"0\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status in (400, 411)


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "+5", "99999999999999999999999"])
def test_impossible_length(product: Product, sender: Participant, length: str) -> None:
    status, _ = exchange(product, head(sender, f"Content-Length: {length}") + b"hello", then_close=True)
    assert is_refused(status)


def test_payload_beyond_the_limit_can_read_its_answer(product: Product, sender: Participant) -> None:
    """The client writes all of it first, and only then reads."""
    size = 1024 * 1024 + 1
    status, said = exchange(product, head(sender, f"Content-Length: {size}") + bytes(size))
    assert status == 413
    assert b"urn:problem-type:dmr:payload-too-large" in said
    size -= 1
    assert exchange(product, head(sender, f"Content-Length: {size}") + bytes(size))[0] == 202


def test_several_times_the_limit_can_read_its_answer(product: Product, sender: Participant) -> None:
    size = 12 * 1024 * 1024
    assert exchange(product, head(sender, f"Content-Length: {size}") + bytes(size))[0] == 413


def test_json_beyond_the_limit(product: Product, sender: Participant) -> None:
    body = b'"' + b"x" * (1024 * 1024) + b'"'
    path = "/centops/public/participants/my/state"
    status, _ = exchange(product, head(sender, f"Content-Length: {len(body)}", path=path) + body)
    assert status == 413


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("X-Model-Type: a\x01b", id="control character"),
        pytest.param("X-Model-Type: a\x00b", id="null"),
        pytest.param("X-Model-Type: a\x7fb", id="delete"),
        pytest.param("X-Model-Type: a\tb", id="tab"),
        pytest.param("X-Model-Type: a\nX-Injected: b", id="bare line feed"),
        pytest.param("X-Model-Type: a\rb", id="bare carriage return"),
        pytest.param("X-Model-Type: " + "a" * 300, id="long"),
        pytest.param("X Model Type: a", id="space in the name"),
        pytest.param("TTL: -5", id="negative time to live"),
    ],
)
def test_header_that_cannot_be_carried(product: Product, sender: Participant, line: str) -> None:
    """Refused, or (a bare line feed ends a line, for some servers) read as two; never forwarded as it is."""
    status, said = exchange(product, head(sender, line, "Content-Length: 2") + b"hi")
    if "Injected" in line:
        assert status in (400, 202)
    else:
        assert status == 400, said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Message-Id-Ref", "\xe4\xf6"),
        ("X-Model-Type", "\xc3\xa4"),
        ("Content-Type", "text/\xe4"),
        ("X-Conversation-Id", "\xff"),
        ("TTL", "\xb2"),
    ],
)
def test_an_optional_header_that_is_not_ascii_is_refused_by_name(
    product: Product, sender: Participant, name: str, value: str
) -> None:
    status, said = exchange(product, head(sender, f"{name}: {value}", "Content-Length: 2") + b"hi")
    assert status == 400
    assert [error["header"] for error in json.loads(said)["errors"]] == [name]


@pytest.mark.parametrize("name", ["X-Message-Id-Ref", "X-Model-Type", "TTL"])
def test_an_empty_optional_header_is_none(product: Product, sender: Participant, name: str) -> None:
    """Clients of the first generation send headers without a value."""
    status, said = exchange(product, head(sender, f"{name}:", "Content-Length: 2") + b"hi")
    assert status == 202, said


def test_a_sender_named_twice_is_nobody(product: Product, sender: Participant) -> None:
    status, _ = exchange(product, head(sender, "X-Sent-By: somebody-else", "Content-Length: 2") + b"hi")
    assert status == 403


@pytest.mark.parametrize("name", ["X-Sent-By", "X-Send-To", "X-Message-Id", "X-Api-Key"])
@pytest.mark.parametrize("value", ["", "\xe4\xf6\xfc", "\xff\xfe"])
def test_odd_value_of_a_required_header(product: Product, sender: Participant, name: str, value: str) -> None:
    lines = head(sender, "Content-Length: 2").decode("latin-1").split("\r\n")
    changed = [f"{name}: {value}" if line.startswith(f"{name}:") else line for line in lines]
    status, said = exchange(product, "\r\n".join(changed).encode("latin-1") + b"hi")
    assert status in ((401,) if name == "X-Api-Key" else (400, 403))
    assert b"urn:problem-type:dmr:" in said


def test_thousands_of_headers(product: Product, sender: Participant) -> None:
    many = [f"X-Header-{number}: value" for number in range(5000)]
    status, _ = exchange(product, head(sender, *many, "Content-Length: 2") + b"hi")
    assert is_refused(status)


def test_megabytes_of_one_header(product: Product, sender: Participant) -> None:
    long = "a" * (4 * 1024 * 1024)
    try:
        status, _ = exchange(product, head(sender, f"X-Long: {long}", "Content-Length: 2") + b"hi")
    except (BrokenPipeError, ConnectionResetError):
        status = 0  # it hung up on us, which is clean enough
    assert is_refused(status)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
        pytest.param(b"nonsense\r\n\r\n", id="nonsense"),
        pytest.param(b"GET / HTTP/9.9\r\n\r\n", id="another HTTP"),
        pytest.param(b"GET /livez HTTP/1.1\r\n\r\n", id="no Host"),
        pytest.param(b"GET /messages/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", id="bytes in the path"),
        pytest.param(b"GET /messages/%ff%fe%00 HTTP/1.1\r\nHost: x\r\n\r\n", id="escaped bytes in the path"),
        pytest.param(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", id="long path"),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: a b<c>\r\n\r\n", id="odd Host"),
    ],
)
def test_request_that_is_none(product: Product, data: bytes) -> None:
    status, _ = exchange(product, data, then_close=True)
    assert status < 500


def test_many_stalled_bodies_do_not_stop_the_others(product: Product, sender: Participant, sink: MakeSink) -> None:
    """Half as many as there are web threads: those beside them are served."""
    stalled = []
    try:
        for _ in range(8):
            connection = socket.create_connection(("127.0.0.1", product.port), timeout=20)
            connection.sendall(head(sender, "Content-Length: 100") + b"x")
            stalled.append(connection)
        into = sink()
        recipient = product.register(into.url)
        into.wait_for(product.send(sender, recipient.name), 15)
    finally:
        for connection in stalled:
            connection.close()


@pytest.mark.slow  # it waits for ten seconds
def test_idle_connections_are_closed(product: Product) -> None:
    """One that never sends its head is given up."""
    with socket.create_connection(("127.0.0.1", product.port), timeout=20) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHo")
        began = time.monotonic()
        status, _ = read_answer(connection)
        assert status in (0, 400, 408)
        assert time.monotonic() - began < 15


def test_client_that_leaves_in_the_middle(product: Product, sender: Participant) -> None:
    before = product.metric("dmr_messages_accepted_total")
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", product.port)) as connection:
            connection.sendall(head(sender, "Content-Length: 100000") + b"x" * 1000)
    wait_until(lambda: product.call("/livez").status == 200, 5)
    assert product.metric("dmr_messages_accepted_total") == before


def test_a_length_written_with_thousands_of_zeros(product: Product, sender: Participant) -> None:
    status, said = exchange(product, head(sender, f"Content-Length: {'0' * 4999}2") + b"hi")
    assert status == 202, said

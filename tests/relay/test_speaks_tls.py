"""Deliveries over TLS: whom the transport believes, what it shows, and what sender and staff are told."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.utils import timezone

from dmr_project.lib import certificates, loops
from dmr_project.lib.http import AddressGuard, Terms, open_session
from participants.endpoint_terms import Unusable
from relay.delivery import transport
from relay.delivery.claimed import Claimed
from relay.delivery.retry import Outcome
from relay.delivery_keys import Signer
from tests.certificates import DAY, Made, make

OPEN = AddressGuard(private_allowed=True)
SIGNER = Signer("key", Ed25519PrivateKey.generate())
AUTHORITY = make("our authority")
Attempt = Callable[..., Coroutine[Any, Any, Outcome]]


@dataclass
class Seen:
    """What the endpoint saw of those who came."""

    connections: int = 0
    clients: list[str] = field(default_factory=list)  # the common name of each request's client certificate


def claimed(url: str) -> Claimed:
    """Of a message that says as little as it can."""
    nothing: dict[str, Any] = {
        "str": "",
        "int": 0,
        "bool": False,
        "bytes": b"",
        "int | None": None,
        "datetime": timezone.now() + timedelta(hours=1),
    }
    values = {each.name: nothing[str(each.type)] for each in fields(Claimed)}
    said = {"host": url, "success_statuses": "2xx", "sent_by": "tax-board", "payload": b"body", "content_type": "x/y"}
    return Claimed(**{**values, **said})


def terms(authority: str = "", client: Made | None = None) -> Terms:
    shown = (client.pem, client.key_pem) if client else ("", "")
    return Terms(OPEN, certificates.client_context(authority, *shown))


def attempts(context: ssl.SSLContext | None, *given: Any, host: str = "127.0.0.1") -> tuple[list[Outcome], Seen]:
    """One attempt under each of the given terms, one after the other on one session, at one TLS endpoint."""
    seen = Seen()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                shown = writer.get_extra_info("peercert") or {"subject": ()}
                seen.clients.append(" ".join(value for each in shown["subject"] for _, value in each))
                writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def scenario() -> list[Outcome]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        url = f"https://{host}:{server.sockets[0].getsockname()[1]}/messages"
        async with open_session(OPEN, connections=10, per_host=0) as session:
            outcomes = [await transport.attempt(session, claimed(url), SIGNER, each) for each in given]
        server.close()
        await asyncio.sleep(0.05)  # the endpoint notices that its connections are closed
        return outcomes

    return loops.run(scenario()), seen


def error_of(context: ssl.SSLContext | None, given: Any, **more: Any) -> str:
    (outcome,), seen = attempts(context, given, **more)
    assert not outcome.is_success
    assert outcome.status is None
    assert seen.clients == [], "nothing was sent"
    return outcome.error


# -- whom we believe --


def test_an_endpoint_of_an_own_authority(tmp_path: Path) -> None:
    context = make("127.0.0.1", by=AUTHORITY).server_context(tmp_path)
    (outcome,), seen = attempts(context, terms(AUTHORITY.pem))
    assert (outcome.is_success, outcome.status) == (True, 202)
    assert seen.clients == [""]


def test_without_the_authority_it_is_not_believed(tmp_path: Path) -> None:
    context = make("127.0.0.1", by=AUTHORITY).server_context(tmp_path)
    for given in (None, terms(), terms(make("another authority").pem)):
        assert "signed by nobody that DMR trusts" in error_of(context, given)


def test_an_authority_of_one_endpoint_says_nothing_of_another(tmp_path: Path) -> None:
    """On the same session, after a connection under the first one's terms has been kept alive."""
    context = make("127.0.0.1", by=AUTHORITY).server_context(tmp_path)
    outcomes, _ = attempts(context, terms(AUTHORITY.pem), None, terms(make("another authority").pem))
    assert [each.is_success for each in outcomes] == [True, False, False]


def test_an_own_authority_stands_in_place_of_the_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    system = tmp_path / "system.pem"
    system.write_text(AUTHORITY.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(system))
    context = make("127.0.0.1", by=AUTHORITY).server_context(tmp_path)
    (by_system, by_own), _ = attempts(context, None, terms(make("another authority").pem))
    assert (by_system.is_success, by_own.is_success) == (True, False)


def test_the_endpoints_own_certificate_may_be_given(tmp_path: Path) -> None:
    made = make("127.0.0.1")
    context = made.server_context(tmp_path)
    assert "signed by nobody that DMR trusts" in error_of(context, None)
    assert attempts(context, terms(made.pem))[0][0].is_success
    signed = make("127.0.0.1", by=AUTHORITY)
    assert attempts(signed.server_context(tmp_path), terms(signed.pem))[0][0].is_success


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: make("127.0.0.2", by=AUTHORITY), "is for another name"),
        (lambda: make("bot.example.ee", by=AUTHORITY), "is for another name"),
        (lambda: make("127.0.0.1", by=AUTHORITY, begins=-2 * DAY, ends=-DAY), "has expired"),
        (lambda: make("127.0.0.1", by=AUTHORITY, begins=DAY), "is not valid yet"),
        (lambda: make("127.0.0.1"), "signed by nobody that DMR trusts; staff can set an authority"),
        (lambda: make("127.0.0.1", by=make("our authority")), "signed by nobody that DMR trusts"),
        (lambda: make("client", by=AUTHORITY, for_clients=True), "is not valid"),
    ],
)
def test_a_certificate_that_does_not_hold_is_refused(made: Callable[[], Made], said: str, tmp_path: Path) -> None:
    assert said in error_of(made().server_context(tmp_path), terms(AUTHORITY.pem))


def test_a_name_is_checked_not_only_an_address(tmp_path: Path) -> None:
    context = make("localhost", by=AUTHORITY).server_context(tmp_path)
    assert attempts(context, terms(AUTHORITY.pem), host="localhost")[0][0].is_success
    assert "is for another name" in error_of(context, terms(AUTHORITY.pem))


def test_what_does_not_speak_tls_is_named() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async def scenario() -> Outcome:
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with open_session(OPEN, connections=1, per_host=0) as session:
            outcome = await transport.attempt(session, claimed(url), SIGNER)
        server.close()
        return outcome

    assert "does not speak TLS" in loops.run(scenario()).error


# -- what we show --


def client(name: str = "dmr-relay", **more: Any) -> Made:
    return make(name, by=AUTHORITY, for_clients=True, **more)


def test_a_client_certificate_is_shown_where_it_is_set(tmp_path: Path) -> None:
    context = make("127.0.0.1", by=AUTHORITY).server_context(tmp_path, clients_of=AUTHORITY)
    outcomes, seen = attempts(context, terms(AUTHORITY.pem, client()))
    assert outcomes[0].is_success
    assert seen.clients == ["dmr-relay"]
    assert list(tmp_path.glob("dmr-*")) == []


def test_an_endpoint_that_asks_in_vain(tmp_path: Path) -> None:
    context = make("127.0.0.1", by=AUTHORITY).server_context(tmp_path, clients_of=AUTHORITY)
    said = error_of(context, terms(AUTHORITY.pem))
    assert "asks for a client certificate" in said or "wants a client certificate" in said


def test_a_client_certificate_that_is_not_taken(tmp_path: Path) -> None:
    context = make("127.0.0.1", by=AUTHORITY).server_context(tmp_path, clients_of=make("another authority"))
    said = error_of(context, terms(AUTHORITY.pem, client()))
    assert "client certificate" in said


def test_one_participants_certificate_and_connection_are_never_anothers(tmp_path: Path) -> None:
    """Two participants at one host and port, one session: each is called over a connection of its own."""
    context = make("127.0.0.1", by=AUTHORITY).server_context(tmp_path, clients_of=AUTHORITY)
    context.verify_mode = ssl.CERT_OPTIONAL
    one, other = terms(AUTHORITY.pem, client("one")), terms(AUTHORITY.pem, client("other"))
    none = terms(AUTHORITY.pem)
    outcomes, seen = attempts(context, one, other, none, one, other, none)
    assert all(outcome.is_success for outcome in outcomes)
    assert seen.clients == ["one", "other", "", "one", "other", ""]
    assert seen.connections == 3, "each is kept alive, for its own"


def test_the_same_content_in_two_terms_shares_no_connection(tmp_path: Path) -> None:
    context = make("127.0.0.1", by=AUTHORITY).server_context(tmp_path)
    _, seen = attempts(context, terms(AUTHORITY.pem), terms(AUTHORITY.pem))
    assert seen.connections == 2


def test_a_chain_is_shown_whole(tmp_path: Path) -> None:
    between = make("the authority between, an authority", by=AUTHORITY)
    leaf = make("dmr-relay", by=between, for_clients=True)
    context = make("127.0.0.1", by=AUTHORITY).server_context(tmp_path, clients_of=AUTHORITY)
    given = Terms(OPEN, certificates.client_context(AUTHORITY.pem, leaf.pem + between.pem, leaf.key_pem))
    outcomes, seen = attempts(context, given)
    assert outcomes[0].is_success, outcomes[0].error
    assert seen.clients == ["dmr-relay"]


def test_terms_that_cannot_be_used_send_nothing() -> None:
    outcomes, seen = attempts(None, Unusable("staff must enter it again"))
    assert (outcomes[0].is_success, outcomes[0].error) == (False, "staff must enter it again")
    assert seen.connections == 0


def test_certificates_of_tests_last(tmp_path: Path) -> None:
    assert AUTHORITY.certificate.not_valid_after_utc > timezone.now() + timedelta(days=1)

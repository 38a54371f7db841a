"""What leaves bears Standard Webhooks headers that bind who sent it, to whom, and every forwarded header."""

from __future__ import annotations

import base64
import uuid
from datetime import timedelta

import pytest
import time_machine
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.utils import timezone

from relay import delivery_keys
from relay.delivery import attestation
from relay.delivery.engine import Engine
from relay.models import Delivery, DeliveryKey
from tests import factories
from tests.relay.conftest import Edge

HEADERS = {
    "X-Sent-By": "tax-board",
    "X-Send-To": "police",
    "X-Message-Id": "d290f1ee-6c54-4b01-90e6-d701748f0851",
    "X-Message-Id-Ref": "a",
    "X-Model-Type": "b",
    "Content-Type": "text/plain",
    "X-Conversation-Id": "c",
    "X-Room": "national",
}
SIGNER = delivery_keys.Signer("key", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def attest(
    headers: dict[str, str], sender: str = "tax-board", recipient: str = "police", at: int = 1
) -> dict[str, str]:
    return attestation.attest(headers, sender, recipient, b"body", SIGNER, at)


def test_the_id_is_what_the_documentation_says() -> None:
    """Worked out by hand from docs/attested-delivery.md: recipients rely on it for ever."""
    attested = attest(HEADERS)
    assert attested["webhook-id"] == "dmr_lZt797hYjD1FA6w2Gk8QhJP4CJ6VdpvWZW5rxfzGD5w"
    assert attested["X-Attested-Key"] == "key"
    assert {name: attested[name] for name in HEADERS} == HEADERS, "the routing headers stay as they are"


def test_the_signature_is_the_standards() -> None:
    attested = attest(HEADERS, at=1674087231)
    version, _, signature = attested["webhook-signature"].partition(",")
    assert version == "v1a"
    signed = f"{attested['webhook-id']}.1674087231.".encode() + b"body"
    SIGNER.private_key.public_key().verify(base64.b64decode(signature, validate=True), signed)
    with pytest.raises(InvalidSignature):
        SIGNER.private_key.public_key().verify(base64.b64decode(signature), signed + b".")


def test_every_header_is_bound() -> None:
    seen = {attest(HEADERS)["webhook-id"]}
    for name in HEADERS:
        seen.add(attest(HEADERS | {name: "other"})["webhook-id"])
        seen.add(attest({key: value for key, value in HEADERS.items() if key != name})["webhook-id"])
    seen.add(attest(HEADERS, sender="other")["webhook-id"])
    seen.add(attest(HEADERS, recipient="other")["webhook-id"])
    # A value cannot move from one header into the next.
    seen.add(attest(HEADERS | {"X-Message-Id-Ref": "", "X-Model-Type": "a"})["webhook-id"])
    assert len(seen) == 1 + 2 * len(HEADERS) + 3


def test_time_and_body_do_not_change_the_id() -> None:
    one, other = attest(HEADERS, at=1), attest(HEADERS, at=2)
    assert one["webhook-id"] == other["webhook-id"]
    assert one["webhook-signature"] != other["webhook-signature"]


def test_spaces_at_the_ends_do_not_count_for_http_drops_them() -> None:
    padded = attest(HEADERS | {"X-Conversation-Id": " c  "})
    assert padded["webhook-id"] == attest(HEADERS)["webhook-id"]


def test_headers_are_ascii_without_line_ends() -> None:
    for name, value in attest(HEADERS).items():
        assert f"{name}: {value}".isascii()
        assert f"{name}: {value}".isprintable()
    assert "." not in attest(HEADERS)["webhook-id"], "a full stop separates what is signed"


# -- through the engine --


def posted(edge: Edge) -> list[dict[str, str]]:
    return [headers for _, _, headers in edge.posted]


def check(headers: dict[str, str], body: bytes) -> None:
    """By the published keys, as a recipient does."""
    row = next(row for row in delivery_keys.published() if row.key_id == headers["X-Attested-Key"])
    public = delivery_keys.unsealed(row).public_key()
    assert base64.b64encode(public.public_bytes_raw()).decode() == row.public_key
    signature = base64.b64decode(headers["webhook-signature"].removeprefix("v1a,"))
    public.verify(signature, f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body)
    assert headers["webhook-id"] == attestation.webhook_id(headers)


@pytest.mark.django_db(transaction=True)
def test_a_retry_has_the_id_and_a_new_time(engine: Engine, edge: Edge) -> None:
    sender, recipient = factories.participant(), factories.participant()
    factories.message(sender, recipient.name, b"\x00\xff")
    edge.will(recipient.row.host, 500)
    engine.pump()
    Delivery.objects.update(due_at=timezone.now())
    with time_machine.travel(timezone.now() + timedelta(seconds=7)):
        engine.pump()
    first, again = posted(edge)
    for headers in (first, again):
        check(headers, b"\x00\xff")
        assert (headers["X-Attested-Sender"], headers["X-Attested-Recipient"]) == (sender.name, recipient.name)
    assert first["webhook-id"] == again["webhook-id"]
    assert 7 <= int(again["webhook-timestamp"]) - int(first["webhook-timestamp"]) < 20


@pytest.mark.django_db(transaction=True)
def test_the_same_message_id_of_two_senders_is_two_ids(engine: Engine, edge: Edge) -> None:
    one, other, recipient = factories.participant(), factories.participant(), factories.participant()
    same = uuid.uuid4()
    for sender in (one, other):
        factories.message(sender, recipient.name, message_id=same)
    engine.pump()
    assert len({headers["webhook-id"] for headers in posted(edge)}) == 2
    assert {headers["X-Attested-Sender"] for headers in posted(edge)} == {one.name, other.name}


@pytest.mark.django_db(transaction=True)
def test_aliases_are_told_apart(engine: Engine, edge: Edge) -> None:
    """To and from `Classifier`: who it really is stands in the attested headers."""
    bot = factories.participant()
    classifier = factories.participant(type="Classifier")
    factories.message(bot, "Classifier")
    factories.message(classifier, bot.name, sent_by="Classifier")
    engine.pump()
    by_recipient = {headers["X-Attested-Recipient"]: headers for headers in posted(edge)}
    assert by_recipient[classifier.name]["X-Send-To"] == "Classifier"
    assert by_recipient[bot.name]["X-Sent-By"] == "Classifier"
    assert by_recipient[bot.name]["X-Attested-Sender"] == classifier.name


@pytest.mark.django_db(transaction=True)
def test_what_we_say_ourselves_is_attested_as_dmr(engine: Engine, edge: Edge) -> None:
    sender = factories.participant()
    factories.message(sender, "nobody-at-all")
    engine.pump()
    (headers,) = posted(edge)
    assert (headers["X-Attested-Sender"], headers["X-Attested-Recipient"]) == ("Dmr", sender.name)
    check(headers, edge.posted[0][1])


@pytest.mark.django_db(transaction=True)
def test_without_a_readable_key_nothing_leaves_and_nothing_is_lost(
    engine: Engine, edge: Edge, caplog: pytest.LogCaptureFixture
) -> None:
    sender, recipient = factories.participant(), factories.participant()
    delivery_keys.ensure()
    sealed = DeliveryKey.objects.get().sealed
    DeliveryKey.objects.update(sealed="v1:0123456789ab:AAAA")
    delivery = factories.delivery(sender, recipient)
    assert engine.pump() is False
    delivery.refresh_from_db()
    assert (edge.posted, delivery.state, delivery.attempts) == ([], "pending", 0)
    (record,) = [each for each in caplog.records if each.getMessage() == "delivery_key_unreadable"]
    assert "DMR_SECRET_KEY_FALLBACKS" in record.facts["hint"]  # type: ignore[attr-defined]
    assert "rotate --now" in record.facts["hint"]  # type: ignore[attr-defined]
    DeliveryKey.objects.update(sealed=sealed)
    engine._keyring._read_at = None
    engine.pump()
    assert len(edge.posted) == 1

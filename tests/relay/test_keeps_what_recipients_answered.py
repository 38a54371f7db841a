"""What a recipient answered is kept, for the sender and for staff, and never holds the payload."""

from __future__ import annotations

import base64
import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from dmr_project.lib import http
from relay import retention
from relay.delivery import answers, dead_letter
from relay.delivery.engine import Engine
from relay.models import Attempt, Delivery, PayloadDue, State
from tests import factories
from tests.relay.conftest import Edge

SECRET = "Mari Maasikas, isikukood 48001010000, küsib toetust"
PAYLOAD = base64.b64encode(json.dumps({"Message": SECRET}, ensure_ascii=False).encode())


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        pytest.param(b"", "", id="nothing"),
        pytest.param("Viga: päring ei sobi".encode(), "Viga: päring ei sobi", id="a text"),
        pytest.param(b"one\r\ntwo\tthree\n", "one\ntwo\tthree\n", id="lines"),
        pytest.param(b"a\x00b\x1bc\x7fd", "a�b�c�d", id="control characters"),
        pytest.param("a\u202eb\u200bc".encode(), "a�b�c", id="characters that deceive"),
        pytest.param(b"a\xffb", "a�b", id="not UTF-8"),
        pytest.param(b"x" * 5000, "x" * 1024, id="a long one"),
        pytest.param("õ".encode() * 1000, "õ" * 512, id="1 KiB is counted in bytes"),
        pytest.param(b"x" + "õ".encode() * 1000, "x" + "õ" * 511 + "�", id="cut within a character"),
        pytest.param(
            b"<script>alert(1)</script>", "<script>alert(1)</script>", id="markup is for the page to escape"
        ),
    ],
)
def test_an_answer_is_made_fit_to_be_shown(body: bytes, kept: str) -> None:
    assert answers.kept(body, PAYLOAD) == kept


@pytest.mark.parametrize(
    "echo",
    [
        pytest.param(PAYLOAD, id="as it is"),
        pytest.param(b"cannot parse: " + PAYLOAD[7:39] + b"...", id="32 bytes of it"),
        pytest.param(base64.b64decode(PAYLOAD), id="decoded"),
        pytest.param(json.dumps({"got": SECRET}).encode(), id="decoded, in JSON, escaped"),
        pytest.param(json.dumps({"got": base64.b64decode(PAYLOAD).decode()}).encode(), id="decoded, as text in JSON"),
        pytest.param(base64.b64encode(PAYLOAD), id="encoded once more"),
        pytest.param(b"x" * 990 + PAYLOAD, id="cut by the limit"),
    ],
)
def test_an_answer_that_repeats_the_payload_is_withheld(echo: bytes) -> None:
    assert answers.kept(echo, PAYLOAD) == answers.WITHHELD


@pytest.mark.parametrize(
    ("body", "payload", "is_withheld"),
    [
        pytest.param(b"unknown word: kass", b"kass", True, id="a short payload in full"),
        pytest.param(b"unknown word: ka", b"kass", False, id="half of a short payload"),
        pytest.param(b"anything", b"", False, id="an empty payload"),
        pytest.param(b'{"got":"\\ud83d\\ude00"}', "😀".encode(), True, id="escaped as a pair"),
        pytest.param(b'{"got":"\\ud83d"}', "😀".encode(), False, id="half a pair"),
    ],
)
def test_short_payloads(body: bytes, payload: bytes, is_withheld: bool) -> None:
    assert (answers.kept(body, payload) == answers.WITHHELD) is is_withheld


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"x" * (answers.MOST_BYTES + 1), id="too long"),
        pytest.param(b'"' + b"\\u00e4a" * (answers.MOST_ESCAPES + 1) + b'"', id="too many escapes"),
        pytest.param(base64.b64encode(b"\\u00e4a" * (answers.MOST_ESCAPES + 1)), id="too many in base64"),
    ],
)
def test_what_cannot_be_looked_through_in_a_moment_is_withheld(payload: bytes) -> None:
    assert answers.kept(b"oops", payload) == answers.UNSEEN


@given(payload=st.binary(min_size=32, max_size=300), begin=st.integers(0, 268), around=st.binary(max_size=100))
def test_no_run_of_32_bytes_gets_through(payload: bytes, begin: int, around: bytes) -> None:
    run = payload[min(begin, len(payload) - 32) :][:32]
    assert answers.kept(around + run + around, payload) == answers.WITHHELD


@given(body=st.binary(max_size=2000), payload=st.binary(max_size=100))
def test_every_answer_can_be_kept(body: bytes, payload: bytes) -> None:
    kept = answers.kept(body, payload)
    assert "\x00" not in kept
    assert len(kept) <= answers.KEPT_BYTES
    kept.encode()


def status(client: Client, asking: factories.Registered, delivery: Delivery) -> dict[str, Any]:
    answer = client.get(f"/messages/{delivery.message.written_id}", headers=asking.auth)
    (one,) = answer.json()["deliveries"]
    found: dict[str, Any] = one
    return found


@pytest.mark.django_db(transaction=True)
def test_the_sender_is_shown_the_last_answer_and_the_recipient_is_not(
    engine: Engine, edge: Edge, client: Client
) -> None:
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.delivery(sender, recipient)
    assert status(client, sender, delivery)["lastAnswer"] is None, "nothing was attempted"
    for code, said in ((503, b"busy"), (400, b"pole sobiv \x00")):
        edge.will(recipient.row.host, http.Answer(code, {}, said))
        Delivery.objects.update(due_at=timezone.now())
        engine.pump()
        shown = status(client, sender, delivery)["lastAnswer"]
        assert set(shown) == {"status", "body", "seconds"}
        assert (shown["status"], shown["body"]) == (code, said.decode().replace("\x00", "�"))
        assert 0 <= shown["seconds"] < 10
    assert "lastAnswer" not in status(client, recipient, delivery)
    answers_kept = Attempt.objects.filter(delivery=delivery).order_by("id").values_list("answer", flat=True)
    assert list(answers_kept) == ["busy", "pole sobiv �"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("size", "is_apart"), [(1000, False), (1_000_000, True)])
def test_a_long_payload_is_looked_for_in_nobodys_way(
    engine: Engine, edge: Edge, monkeypatch: pytest.MonkeyPatch, size: int, is_apart: bool
) -> None:
    """Not on the event loop, where all other attempts would wait for the end of it."""
    threads: list[str] = []
    kept = answers.kept

    def watched(body: bytes, payload: bytes) -> str:
        threads.append(threading.current_thread().name)
        return kept(body, payload)

    monkeypatch.setattr(answers, "kept", watched)
    sender, recipient = factories.participant(), factories.participant()
    factories.message(sender, recipient.name, b"x" * size)
    edge.will(recipient.row.host, http.Answer(400, {}, b"oops"))
    engine.pump()
    assert [each != "delivery" for each in threads] == [is_apart]
    assert Attempt.objects.get().answer == "oops"


@pytest.mark.django_db(transaction=True)
def test_of_a_success_status_and_duration_are_kept_and_no_body(engine: Engine, edge: Edge, client: Client) -> None:
    sender, others = factories.participant(), [factories.participant(success_statuses="2xx,300") for _ in range(3)]
    deliveries = [factories.delivery(sender, each) for each in others]
    edge.will(others[0].row.host, http.Answer(503, {}, b"busy"), http.Answer(201, {}, b"thank you"))
    edge.will(others[1].row.host, http.Answer(300, {}, b"thank you"))
    engine.pump()
    Delivery.objects.update(due_at=timezone.now())
    engine.pump()
    for delivery, code in zip(deliveries, (201, 300, 202), strict=True):
        shown = status(client, sender, delivery)["lastAnswer"]
        assert (shown["status"], shown["body"]) == (code, None)
        assert 0 <= shown["seconds"] < 10


@pytest.mark.django_db(transaction=True)
def test_where_nobody_answered_there_is_only_a_duration(engine: Engine, edge: Edge, client: Client) -> None:
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.delivery(sender, recipient)
    edge.will(recipient.row.host, ConnectionRefusedError())
    engine.pump()
    shown = status(client, sender, delivery)["lastAnswer"]
    assert (shown["status"], shown["body"]) == (None, None)
    assert shown["seconds"] >= 0


@pytest.mark.django_db(transaction=True)
def test_staff_see_every_answer_and_markup_stays_text(engine: Engine, edge: Edge, admin_client: Client) -> None:
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.delivery(sender, recipient)
    for code, said in ((503, b"<b>busy</b>"), (400, b"not <i>fit</i>")):
        edge.will(recipient.row.host, http.Answer(code, {}, said))
        Delivery.objects.update(due_at=timezone.now())
        engine.pump()
    page = admin_client.get(reverse("admin:relay_delivery_change", args=[delivery.pk])).content.decode()
    assert "&lt;b&gt;busy&lt;/b&gt;" in page
    assert page.count("not &lt;i&gt;fit&lt;/i&gt;") == 2, "among the attempts, and as the last answer"
    assert "<b>busy" not in page


@pytest.mark.django_db(transaction=True)
def test_answers_go_when_the_payload_goes(engine: Engine, edge: Edge) -> None:
    sender, recipient = factories.participant(), factories.participant()
    gone, stays = factories.delivery(sender, recipient), factories.delivery(sender, recipient)
    edge.will(recipient.row.host, http.Answer(400, {}, b"unfit"), http.Answer(400, {}, b"unfit"))
    engine.pump()
    dead_letter.discard(Delivery.objects.filter(pk=gone.pk))
    PayloadDue.objects.filter(message=gone.message).update(due_at=timezone.now() - timedelta(seconds=1))
    assert retention.delete_payloads() == 1
    assert Attempt.objects.get(delivery=gone).answer == ""
    assert Attempt.objects.get(delivery=stays).answer == "unfit"
    assert Delivery.objects.get(pk=gone.pk).state == State.DEAD

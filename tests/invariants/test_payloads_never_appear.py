"""Invariant 7: the payload leaves as it came, and is seen nowhere else."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from tests import factories
from tests.integration.product import Product, call, wait_until
from tests.integration.sinks import Sink, always, echo

MakeSink = Callable[..., Sink]


def test_invariant_7_payload_leaves_as_it_came(product: Product, sink: MakeSink) -> None:
    into = sink()
    sender, recipient = product.register(sink().url), product.register(into.url)
    for payload in (
        bytes(range(256)),
        b"\r\n\r\n",
        "Tere, õhtust! 🇪🇪".encode(),
        b"\x00" * 1000,
        secrets.token_bytes(300_000),
    ):
        assert into.wait_for(product.send(sender, recipient.name, payload)).body == payload


def test_invariant_7_payload_is_seen_nowhere_else(product: Product, sink: MakeSink) -> None:
    """A marked payload that fails in every way; then logs, answers and metrics are searched for the mark."""
    mark = f"marked-{secrets.token_hex(8)}"
    payload = json.dumps({"Message": mark, "Classification": mark}).encode()
    forms = [mark.encode(), base64.b64encode(payload)[4:60]]
    from_sender = sink()
    sender = product.register(from_sender.url)
    answers = []
    failing = [product.register(sink(always(status)).url).name for status in (400, 500, 302)]
    failing += [product.register(sink(echo(status)).url).name for status in (422, 503)]
    ids = []
    for body in (payload, base64.b64encode(payload)):
        for send_to in (*failing, "nobody-at-all"):
            answers.append(product.post(sender, send_to, body))
            ids.append(answers[-1].json()["messageId"])
        answers.append(product.post(sender, failing[0], body + b"other", message_id=ids[0]))  # 409
        answers.append(product.post(sender, failing[0], body, X_Sent_By="somebody"))  # 403
        answers.append(product.post(sender, failing[0], body, X_Message_Id="none"))  # 400
        answers.append(product.post(sender, failing[0], body * 20_000))  # 413
        answers.append(product.call("/centops/public/participants/my/state", "POST", body, X_Api_Key=sender.key))
    assert {answer.status for answer in answers} >= {202, 400, 403, 409, 413}
    wait_until(lambda: len(from_sender.received) >= 8, 10, "the sender is told of what failed at once")
    answers += [product.call(f"/messages/{each}", X_Api_Key=sender.key) for each in ids]
    withheld = [answer for answer in answers if b'"body":"(withheld' in answer.body]
    assert len(withheld) >= 2, "recipients that echo do so in vain"
    seen = {
        "answers": b"".join(answer.body + str(answer.headers).encode() for answer in answers),
        "error messages": b"".join(base64.b64decode(each.body) for each in from_sender.received),
        "metrics": product.call("/metrics").body,
        "output": product.output.encode(),
    }
    for place, content in seen.items():
        assert content, place
        for form in forms:
            assert form not in content, f"{form!r} is in the {place}"


@pytest.mark.django_db
def test_invariant_7_payload_is_on_no_admin_page(admin_client: Client) -> None:
    mark = f"marked-{secrets.token_hex(8)}"
    sender, recipient = factories.participant(), factories.participant()
    encoded = base64.b64encode(f"{mark} {mark}".encode())
    for payload in (mark.encode(), encoded):
        message = factories.message(sender, recipient.name, payload)
        delivery = message.deliveries.get()
        delivery.last_error, delivery.state = "the recipient answered 500", "dead"
        delivery.save()
        for row in (message, delivery):
            label = row._meta.model_name
            pages = [
                reverse(f"admin:relay_{label}_changelist"),
                reverse(f"admin:relay_{label}_changelist") + f"?q={message.written_id}",
                reverse(f"admin:relay_{label}_change", args=[row.pk]),
                reverse(f"admin:relay_{label}_history", args=[row.pk]),
            ]
            for page in pages:
                answer = admin_client.get(page, follow=True)
                assert answer.status_code == 200, page
                for form in (mark.encode(), encoded[:40], mark.encode().hex().encode()):
                    assert form not in answer.content, page
    listed = admin_client.get(reverse("admin:relay_message_changelist"))
    assert message.written_id.encode() in listed.content, "the page does show the message"


def test_keys_never_appear(product: Product, sink: MakeSink) -> None:
    into = sink()
    one = product.register(into.url)
    product.post(one, one.name)
    product.post(one, one.name, key=one.key + "x")
    seen = product.output + call(f"{product.url}/metrics").body.decode()
    seen += product.call(f"/centops/public/participants/{one.id}", X_Api_Key=one.key).body.decode()
    assert one.key not in seen

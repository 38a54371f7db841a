"""The limits of a sender, in the product as it runs: two web processes, the shared bucket, rows kept up to date."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.integration.fixtures import a_folder
from tests.integration.product import Product, a_product, wait_until
from tests.integration.sinks import Sink

MakeSink = Callable[..., Sink]
QUOTA = 200_000
pytestmark = pytest.mark.slow  # a product of its own


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    environment = {
        "DMR_MESSAGES_PER_SECOND": "5",
        "DMR_MESSAGES_BURST": "20",
        "DMR_STORED_BYTES_PER_PARTICIPANT": str(QUOTA),
    }
    with a_folder() as folder, a_product(folder, environment) as running:
        yield running


def test_two_web_processes_share_a_senders_rate(product: Product, sink: MakeSink) -> None:
    sender, recipient = product.register(sink().url), product.register(sink().url)
    began = time.monotonic()
    statuses = [product.post(sender, recipient.name).status for _ in range(40)]
    took = time.monotonic() - began
    accepted = statuses.count(202)
    assert set(statuses) == {202, 429}
    assert 20 <= accepted <= 20 + 5 * took + 1
    refused = product.post(sender, recipient.name)
    if refused.status == 429:
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.json()["type"] == "urn:problem-type:dmr:too-many-messages"
    wait_until(lambda: product.post(sender, recipient.name).status == 202, 5, "the sender may send again")


def test_a_quota_is_reached_and_seen_by_staff(product: Product, sink: MakeSink) -> None:
    sender, recipient = product.register(sink().url), product.register(sink().url)
    answers = []
    for _ in range(4):
        answers.append(product.post(sender, recipient.name, b"x" * 60_000))
        time.sleep(2.5)  # as long as another web process may need to hear of it
    assert [answer.status for answer in answers] == [202, 202, 202, 429]
    assert answers[3].json()["type"] == "urn:problem-type:dmr:quota-reached"
    assert f"has 180000 bytes of payload stored, of {QUOTA}" in answers[3].json()["detail"]
    assert product.post(sender, recipient.name, b"x" * 1000).status == 202
    wait_until(lambda: product.metric("dmr_stored_payload_bytes") >= 181_000, 10, "the gauge says so")
    wait_until(lambda: product.metric("dmr_alerts_open", kind="quota") == 1, 10, "staff are alerted")

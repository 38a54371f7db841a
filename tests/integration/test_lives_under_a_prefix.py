"""DMR_PUBLIC_URL with a path: a proxy may leave it on, or take it off."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from tests.integration.fixtures import a_folder
from tests.integration.product import STAFF_KEY, Product, a_product
from tests.integration.sinks import Sink

PREFIX = "/government/relay"
MakeSink = Callable[..., Sink]
pytestmark = pytest.mark.slow  # a product of its own


@pytest.fixture(scope="module")
def prefixed() -> Iterator[Product]:
    environment = {"DMR_PUBLIC_URL": f"https://dmr.example.ee{PREFIX}", "DMR_TRUSTED_PROXIES": "127.0.0.0/8"}
    with a_folder() as folder, a_product(folder, environment) as product:
        yield product


@pytest.mark.parametrize("prefix", [PREFIX, ""])
def test_messages_and_registry_answer(prefixed: Product, sink: MakeSink, prefix: str) -> None:
    into = sink()
    sender, recipient = prefixed.register(sink().url), prefixed.register(into.url)
    headers = {
        "X_Api_Key": sender.key,
        "X_Sent_By": sender.name,
        "X_Send_To": recipient.name,
        "X_Message_Id": f"00000000-0000-0000-0000-{len(prefix):012}",
    }
    answer = prefixed.call(f"{prefix}/messages", "POST", b"hello", **headers)
    assert answer.status == 202, answer
    assert into.wait_for(headers["X_Message_Id"]).body == b"hello"
    assert prefixed.call(f"{prefix}/messages/{headers['X_Message_Id']}", X_Api_Key=sender.key).status == 200
    listed = prefixed.call(f"{prefix}/centops/public/participants?type=Dmr", X_Api_Key=sender.key).json()
    assert [each["host"] for each in listed] == [f"https://dmr.example.ee{PREFIX}/messages"]


@pytest.mark.parametrize("prefix", [PREFIX, ""])
def test_addresses_that_we_give_out_have_the_prefix(prefixed: Product, prefix: str) -> None:
    body = json.dumps({"name": f"office {prefix or 'bare'}", "status": "Active"}).encode()
    made = prefixed.call(f"{prefix}/centops/admin/institutions", "POST", body, X_Api_Key=STAFF_KEY)
    assert urlsplit(made.headers["Location"]).path == f"{PREFIX}/centops/admin/institutions/{made.json()['id']}"
    login = prefixed.call(f"{prefix}/admin/")
    assert login.status == 302
    assert login.headers["Location"].startswith(f"{PREFIX}/admin/login/")
    page = prefixed.call(f"{prefix}/admin/login/")
    assert f'href="{PREFIX}/static/'.encode() in page.body
    assert f"Path={PREFIX}" in page.headers["Set-Cookie"]
    assert prefixed.call(f"{prefix}/static/admin/css/base.css").status == 200


def test_prefix_is_matched_by_whole_segments(prefixed: Product) -> None:
    assert prefixed.call(f"{PREFIX}-not/livez").status == 404
    assert prefixed.call(PREFIX).status == 404

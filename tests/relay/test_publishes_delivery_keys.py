"""The keys under /.well-known/: for everybody, in two standard forms, cheap to ask for again."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime, timedelta

import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.test import Client
from django.utils import timezone

from relay import delivery_keys
from relay.models import DeliveryKey

pytestmark = pytest.mark.django_db
JWKS, WHPK = "/.well-known/jwks.json", "/.well-known/dmr-delivery-keys"


def test_the_first_to_ask_finds_a_key(client: Client) -> None:
    (key,) = client.get(JWKS).json()["keys"]
    assert key["kid"] == DeliveryKey.objects.get().key_id


def test_a_jwk_set(client: Client) -> None:
    old = delivery_keys.ensure()
    new = delivery_keys.rotate(actor="tests")
    old.refresh_from_db()
    answer = client.get(JWKS)
    assert answer["Content-Type"] == "application/json"
    first, second = answer.json()["keys"]
    assert (first["kid"], second["kid"]) == (new.key_id, old.key_id)
    for key, row in ((first, new), (second, old)):
        assert (key["kty"], key["crv"], key["use"], key["alg"]) == ("OKP", "Ed25519", "sig", "EdDSA")
        members = json.dumps({name: key[name] for name in ("crv", "kty", "x")}, separators=(",", ":"))
        thumbprint = base64.urlsafe_b64encode(hashlib.sha256(members.encode()).digest()).decode().rstrip("=")
        assert key["kid"] == thumbprint, "RFC 7638"
        public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "="))
        public.verify(delivery_keys.unsealed(row).sign(b"x"), b"x")
        assert "d" not in key, "the private part"
        assert key["nbf"] == int(row.signs_from.timestamp())
    assert "exp" not in first
    assert old.published_until is not None
    assert second["exp"] == int(old.published_until.timestamp())


def test_as_standard_webhooks_writes_keys(client: Client) -> None:
    row = delivery_keys.ensure()
    delivery_keys.rotate(actor="tests")
    new, old = client.get(WHPK).json()["keys"]
    assert old["publicKey"] == f"whpk_{row.public_key}"
    assert len(base64.b64decode(old["publicKey"].removeprefix("whpk_"), validate=True)) == 32
    assert (new["state"], old["state"]) == ("next", "signing")
    assert datetime.fromisoformat(old["publishedUntil"].replace("Z", "+00:00")) > timezone.now()
    assert new["publishedUntil"] is None


@pytest.mark.parametrize("address", [JWKS, WHPK])
def test_unchanged_keys_are_not_sent_again(client: Client, address: str) -> None:
    first = client.get(address)
    assert "max-age=300" in first["Cache-Control"]
    again = client.get(address, headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again["ETag"] == first["ETag"]
    delivery_keys.rotate(actor="tests")
    changed = client.get(address, headers={"If-None-Match": first["ETag"]})
    assert changed.status_code == 200
    assert changed["ETag"] != first["ETag"]


@pytest.mark.parametrize("address", [JWKS, WHPK])
def test_only_get_and_head(client: Client, address: str) -> None:
    assert client.head(address).status_code == 200
    for method in ("post", "put", "patch", "delete", "options"):
        answer = getattr(client, method)(address)
        assert answer.status_code == 405
        assert answer["Content-Type"] == "application/problem+json"


def test_keys_may_be_kept_for_less_than_the_shortest_lead(client: Client, settings: object) -> None:
    """Who fetched the keys a moment before a rotation has them again before the new one signs."""
    from relay.api.well_known import MAX_AGE

    assert MAX_AGE * 2 <= 600, "600 s is the least that DMR_DELIVERY_KEY_LEAD_SECONDS takes"


def test_a_withdrawn_key_is_gone(client: Client) -> None:
    old = delivery_keys.ensure().key_id
    delivery_keys.rotate(actor="tests")
    with time_machine.travel(timezone.now() + timedelta(days=2)):
        (key,) = client.get(JWKS).json()["keys"]
    assert key["kid"] != old

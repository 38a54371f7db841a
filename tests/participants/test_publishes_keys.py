"""The directory of public keys: published and revoked by their owner, read by those who share a room with it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from participants import public_keys, registry
from participants.models import Change, PublicKey
from tests import factories
from tests.factories import Registered
from tests.participants.test_reads_public_keys import OF_THE_RFC, ec_key, okp_key
from tests.staff import people

pytestmark = pytest.mark.django_db

URL = "/api/v1/public-keys"


def publish(client: Client, who: Registered, jwk: Any, **said: Any) -> Any:
    return client.post(URL, {"jwk": jwk, **said}, content_type="application/json", headers=who.auth)


def revoke(client: Client, who: Registered, **said: Any) -> Any:
    return client.post(f"{URL}/revoke", said, content_type="application/json", headers=who.auth)


def read(client: Client, who: Registered, whose: str = "", tag: str = "", **query: str) -> Any:
    asked = "&".join(f"{name}={quote(value)}" for name, value in {"participant": whose, **query}.items() if value)
    return client.get(f"{URL}?{asked}", headers={**who.auth, **({"If-None-Match": tag} if tag else {})})


def kids(answer: Any) -> list[str]:
    assert answer.status_code == 200
    return [each["kid"] for each in answer.json()["keys"]]


def test_a_published_key_is_there_for_the_others(client: Client) -> None:
    one, other = factories.participant(), factories.participant()
    key = okp_key("X25519") | {"kid": "2026-11", "alg": "ECDH-ES"}
    ends = timezone.now() + timedelta(days=365)
    answer = publish(client, one, key, expiresAt=ends.isoformat())
    assert answer.status_code == 201
    said = answer.json()
    assert {name: said[name] for name in key} == key
    assert (said["use"], said["exp"]) == ("enc", int(ends.timestamp()))
    found = read(client, other, one.name).json()
    assert found == {"participant": one.name, "keys": [said]}
    assert read(client, one).json() == found, "one's own without a name"
    change = Change.objects.first()
    assert change is not None
    assert (change.action, change.actor, change.after["kid"]) == ("publish key", one.name, "2026-11")


def test_the_same_again_is_the_same(client: Client) -> None:
    one, key = factories.participant(), ec_key()
    first = publish(client, one, key)
    again = publish(client, one, key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert PublicKey.objects.count() == 1
    for other in (key | {"kid": "another"}, key | {"use": "sig"}):
        answer = publish(client, one, other)
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:problem-type:dmr:key-id-taken")
    answer = publish(client, one, ec_key() | {"kid": first.json()["kid"]})
    assert answer.json()["type"] == "urn:problem-type:dmr:key-id-taken"
    assert publish(client, factories.participant(), key).status_code == 201, "ids are each participant's own"


def test_a_private_key_is_refused_and_kept_nowhere(client: Client) -> None:
    one, before = factories.participant(), Change.objects.count()
    answer = publish(client, one, OF_THE_RFC | {"d": "a-secret"})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:problem-type:dmr:private-key")
    assert "a-secret" not in answer.content.decode()
    assert (PublicKey.objects.count(), Change.objects.count()) == (0, before)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"expiresAt": "2020-01-01T00:00:00Z"}, 400),
        ({"expiresAt": "soon"}, 400),
        ({"expires": "2030-01-01T00:00:00Z"}, 400),
        ({"padding": "x" * 20_000}, 413),
    ],
)
def test_bodies_are_read_strictly(client: Client, said: dict[str, str], status: int) -> None:
    assert publish(client, factories.participant(), ec_key(), **said).status_code == status


def test_keys_are_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    one = factories.participant()
    for _ in range(public_keys.MOST_VALID):
        assert publish(client, one, okp_key()).status_code == 201
    answer = publish(client, one, okp_key())
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:problem-type:dmr:too-many-public-keys")
    assert revoke(client, one, kid=kids(read(client, one))[0]).status_code == 200
    assert publish(client, one, okp_key()).status_code == 201
    monkeypatch.setattr(public_keys, "MOST_EVER", public_keys.MOST_VALID + 1)
    assert revoke(client, one, kid=kids(read(client, one))[0]).status_code == 200
    assert publish(client, one, okp_key()).status_code == 409


def test_who_shares_no_room_sees_nothing(client: Client) -> None:
    one, stranger = factories.participant(), factories.participant(rooms=[])
    publish(client, one, ec_key())
    for name in (one.name, "nobody", "dmr-relay"):
        answer = read(client, stranger, name)
        assert answer.status_code == 404
        assert answer.json()["detail"] == f"There is no participant {name!r} that shares a room with you."
    room = factories.room()
    factories.join(room, one.row, may_speak=False, listens=False)
    factories.join(room, stranger.row)
    assert len(kids(read(client, stranger, one.name))) == 1, "to verify and to encrypt, whoever speaks there"
    registry.remove_participant(one.row, actor="tests")
    assert read(client, stranger, one.name).status_code == 404


def test_a_revoked_key_goes_at_once_and_its_history_stays(client: Client) -> None:
    one, other = factories.participant(), factories.participant()
    kid = publish(client, one, ec_key()).json()["kid"]
    assert kids(read(client, other, one.name)) == [kid]
    assert revoke(client, other, kid=kid).status_code == 404
    for _ in range(2):
        said = revoke(client, one, kid=kid, reason="it was in a log")
        assert said.status_code == 200
        assert said.json()["revoked"]["reason"] == "it was in a log"
    assert kids(read(client, other, one.name)) == []
    (kept,) = read(client, other, one.name, history="true").json()["keys"]
    assert kept == said.json()
    assert Change.objects.filter(action="revoke public key").count() == 1
    jwk = {name: kept[name] for name in ("kty", "crv", "x", "y", "kid")}
    assert publish(client, one, jwk).json()["type"] == "urn:problem-type:dmr:key-ended"
    assert read(client, other, one.name, history="perhaps").status_code == 400
    assert revoke(client, one).status_code == 400


def test_nothing_new_is_304(client: Client, django_assert_max_num_queries: Any) -> None:
    one, other = factories.participant(), factories.participant()
    publish(client, one, ec_key())
    tag = read(client, other, one.name)["ETag"]
    with django_assert_max_num_queries(1):  # the registry's version
        answer = read(client, other, one.name, tag)
    assert (answer.status_code, answer.content) == (304, b"")
    factories.participant()  # the registry has changed, and this participant's keys have not
    assert read(client, other, one.name, tag).status_code == 304
    publish(client, one, ec_key())
    assert read(client, other, one.name, tag).status_code == 200


def test_a_key_is_left_out_once_it_has_expired(client: Client) -> None:
    one, other = factories.participant(), factories.participant()
    kid = publish(client, one, ec_key(), expiresAt=(timezone.now() + timedelta(hours=1)).isoformat()).json()["kid"]
    assert kids(read(client, other, one.name)) == [kid]
    with time_machine.travel(timezone.now() + timedelta(hours=2)):
        assert kids(read(client, other, one.name)) == []
        assert kids(read(client, other, one.name, history="1")) == [kid]


def test_staff_see_them_and_revoke_with_a_reason(client: Client) -> None:
    one = factories.participant()
    publish(client, one, ec_key() | {"kid": "leaked"})
    row = PublicKey.objects.get()
    operator = people.browser(people.person("operator"))
    for url in (
        reverse("admin:participants_publickey_changelist"),
        reverse("admin:participants_publickey_change", args=[row.pk]),
        reverse("admin:participants_participant_change", args=[one.row.pk]),
    ):
        assert "leaked" in operator.get(url).content.decode(), url
    do = reverse("admin:participants_publickey_do", args=[row.pk, "revoke"])
    assert "Write why" in operator.post(do, {"reason": " "}, follow=True).content.decode()
    viewer = people.browser(people.person("viewer"))
    assert viewer.post(do, {"reason": "found in a public repository"}).status_code == 403
    operator.post(do, {"reason": "found in a public repository"})
    row.refresh_from_db()
    assert row.revoked_at is not None
    history = reverse("admin:participants_participant_history", args=[one.row.pk])
    assert "found in a public repository" in operator.get(history).content.decode()


def test_the_second_generation_reads_an_rsa_key_as_its_certificate(client: Client) -> None:
    one, other = factories.participant(), factories.participant()
    publish(client, other, OF_THE_RFC | {"use": "sig"})
    publish(client, other, ec_key())

    def certificates() -> dict[str, str]:
        rows = client.get("/centops/clients", headers=one.auth).json()["response"]
        paged = client.get("/centops/integration/clients?pageSize=100", headers=one.auth).json()["response"]["items"]
        found = {each["name"]: each["authentication_certificate"] for each in rows}
        assert found == {each["name"]: each["authenticationCertificate"] for each in paged}
        return found

    assert set(certificates().values()) == {""}
    kid = publish(client, one, OF_THE_RFC).json()["kid"]
    assert certificates()[one.name].startswith("-----BEGIN PUBLIC KEY-----")
    assert certificates()[other.name] == "", "it is for signatures alone"
    revoke(client, one, kid=kid)
    assert certificates()[one.name] == ""

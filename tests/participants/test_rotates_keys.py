"""A participant replaces its own key without a gap, sees its keys, and revokes them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from participants import key_rotation, registry
from participants.models import ApiKey, Change, Participant
from participants.scopes import Scope
from tests import factories
from tests.factories import Registered

pytestmark = pytest.mark.django_db

URL = "/api/v1/keys"
PROBE = "/api/v1/my/delivery-mode"


def rotate(client: Client, key: str, **wanted: Any) -> Any:
    return client.post(URL, wanted, content_type="application/json", headers={"X-Api-Key": key})


def revoke(client: Client, key: str, **said: Any) -> Any:
    return client.post(f"{URL}/revoke", said, content_type="application/json", headers={"X-Api-Key": key})


def opens(client: Client, key: str) -> bool:
    status = client.get(PROBE, headers={"X-Api-Key": key}).status_code
    assert status in (200, 401)
    return status == 200


def is_about(written: str, expected: datetime) -> bool:
    return abs(datetime.fromisoformat(written.replace("Z", "+00:00")) - expected) < timedelta(minutes=1)


def issued(bot: Registered, **terms: Any) -> str:
    return registry.issue_key(bot.row, actor="tests", **terms)[1]


def test_both_keys_work_until_the_overlap_is_over(client: Client, settings: Any) -> None:
    settings.KEY_OVERLAP = 3600
    bot = factories.participant()
    answer = rotate(client, bot.key)
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    said = answer.json()
    assert is_about(said["replaced"]["expiresAt"], timezone.now() + timedelta(hours=1))
    assert said["expiresAt"] is None, "the old one had no end, so the new one has none"
    assert said["replaces"] == said["replaced"]["id"]
    assert opens(client, bot.key)
    assert opens(client, said["key"])
    ApiKey.objects.filter(pk=said["replaced"]["id"]).update(expires_at=timezone.now() - timedelta(seconds=1))
    registry.set_own_status(bot.row.pk, "Disabled")  # whatever changes the registry's version
    assert not opens(client, bot.key)
    assert opens(client, said["key"])
    assert not ApiKey.objects.filter(digest=said["key"]).exists(), "kept as a hash alone"


def test_the_log_says_who_and_never_a_key(client: Client) -> None:
    bot = factories.participant()
    key = rotate(client, bot.key).json()["key"]
    newest = list(Change.objects.all()[:2])
    assert {(each.action, each.actor, each.actor_kind) for each in newest} == {
        ("issue key", bot.name, "participant"),
        ("retire key", bot.name, "participant"),
    }
    assert not any(key in str((each.before, each.after, each.reason)) for each in newest)


def test_the_overlap_may_be_chosen_and_never_grows(client: Client) -> None:
    bot = factories.participant()
    first = rotate(client, bot.key, overlapSeconds=120).json()
    assert is_about(first["replaced"]["expiresAt"], timezone.now() + timedelta(minutes=2))
    again = rotate(client, bot.key, overlapSeconds=3600).json()
    assert again["replaced"]["expiresAt"] == first["replaced"]["expiresAt"]
    soon = timezone.now() + timedelta(seconds=90)
    short = issued(bot, expires_at=soon)
    assert is_about(rotate(client, short).json()["replaced"]["expiresAt"], soon), "an earlier end stays"


def test_a_lost_answer_may_be_asked_for_again(client: Client) -> None:
    bot = factories.participant()
    lost = rotate(client, bot.key, rotation="may").json()
    again = rotate(client, bot.key, rotation="may").json()
    assert again["key"] != lost["key"]
    assert not opens(client, lost["key"])
    assert opens(client, again["key"])
    assert bot.row.keys.valid().count() == 2


def test_once_the_new_key_was_used_the_old_one_makes_no_other(client: Client) -> None:
    bot = factories.participant()
    new = rotate(client, bot.key).json()
    assert opens(client, new["key"])
    answer = rotate(client, bot.key)
    assert answer.status_code == 409
    assert answer.json()["type"].endswith(":already-rotated")
    assert str(new["id"]) in answer.json()["detail"]
    assert revoke(client, bot.key, id=new["id"]).status_code == 200
    assert rotate(client, bot.key).status_code == 201, "its successor does not work any more"


def test_two_who_rotate_the_same_key_do_not_take_it_from_each_other(client: Client) -> None:
    bot = factories.participant()
    one = rotate(client, bot.key, rotation="pod-1").json()
    assert rotate(client, bot.key, rotation="pod-2").status_code == 409
    assert opens(client, one["key"])


def test_the_keys_that_work_are_bounded(client: Client) -> None:
    key = factories.participant().key
    for _ in range(key_rotation.MOST_LIVE - 1):
        key = rotate(client, key).json()["key"]
        assert opens(client, key)
    answer = rotate(client, key)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:problem-type:dmr:too-many-keys")
    oldest = min(each["id"] for each in client.get(URL, headers={"X-Api-Key": key}).json()["keys"])
    assert revoke(client, key, id=oldest).status_code == 200
    assert rotate(client, key).status_code == 201


def test_the_new_key_lives_no_longer_and_is_for_no_more(client: Client) -> None:
    bot = factories.participant()
    month = timezone.now() + timedelta(days=30)
    key = issued(bot, expires_at=month, scopes=[Scope.RELAY, Scope.HEARTBEAT], note="the bot's")
    assert rotate(client, key, expiresInDays=31).json()["errors"][0]["field"] == "expiresInDays"
    assert rotate(client, key, scopes=["registry"]).json()["errors"][0]["field"] == "scopes"
    said = rotate(client, key).json()
    assert is_about(said["expiresAt"], month)
    assert (said["scopes"], said["note"]) == (["relay", "heartbeat"], "the bot's")
    again = rotate(client, key, scopes=["relay"], expiresInDays=7).json()
    assert again["scopes"] == ["relay"]
    assert is_about(again["expiresAt"], timezone.now() + timedelta(days=7))


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"overlapSeconds": 59}, "overlapSeconds"),
        ({"overlapSeconds": "60"}, "overlapSeconds"),
        ({"overlapSeconds": True}, "overlapSeconds"),
        ({"expiresInDays": 0}, "expiresInDays"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"scopes": "relay"}, "scopes"),
        ({"scopes": [["relay"]]}, "scopes"),
        ({"rotation": "x" * 65}, "rotation"),
        ({"note": "two\nlines"}, "note"),
        ({"overlap": 60}, "overlap"),
    ],
)
def test_what_is_wanted_is_read_strictly(client: Client, wanted: dict[str, Any], field: str) -> None:
    bot = factories.participant()
    answer = rotate(client, bot.key, **wanted)
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["errors"]] == [field]
    assert bot.row.keys.count() == 1


def test_a_suspended_one_gets_no_key(client: Client) -> None:
    bot = factories.participant()
    registry.set_status([bot.row], Participant.Status.SUSPENDED, actor="tests")
    assert rotate(client, bot.key).json()["type"].endswith(":suspended")


def test_its_keys_are_listed_without_the_keys(client: Client) -> None:
    bot, other = factories.participant(), factories.participant()
    new = rotate(client, bot.key).json()
    answer = client.get(URL, headers=bot.auth, REMOTE_ADDR="198.51.100.7")
    listed = answer.json()["keys"]
    assert [each["id"] for each in listed] == [new["id"], new["replaces"]]
    assert [each["isThisOne"] for each in listed] == [False, True]
    assert listed[0]["lastUsedAt"] is None
    assert listed[1]["beginsWith"] == bot.key[:4]
    said = answer.content.decode()
    assert not any(secret in said for secret in (bot.key, new["key"], ApiKey.objects.get(pk=new["id"]).digest))
    assert len(client.get(URL, headers=other.auth).json()["keys"]) == 1


def test_a_key_for_something_else_sees_only_its_own_line(client: Client) -> None:
    bot = factories.participant()
    limited = issued(bot, scopes=[Scope.HEARTBEAT])
    new = rotate(client, limited).json()
    for key in (limited, new["key"]):
        listed = client.get(URL, headers={"X-Api-Key": key}).json()["keys"]
        assert {each["id"] for each in listed} == {new["id"], new["replaces"]}
    first = bot.row.keys.order_by("id")[0]
    assert revoke(client, limited, id=first.pk).status_code == 404
    assert revoke(client, new["key"], id=new["replaces"]).status_code == 200
    assert not ApiKey.objects.valid().filter(pk=new["replaces"]).exists()


def test_a_key_is_revoked_by_its_own_participant_alone(client: Client) -> None:
    bot, other = factories.participant(), factories.participant()
    mine = bot.row.keys.get()
    assert revoke(client, other.key, id=mine.pk).status_code == 404
    assert opens(client, bot.key)
    for _ in range(2):
        issued_key = issued(bot)
        said = revoke(client, issued_key, id=mine.pk, reason="lost")
        assert said.status_code == 200
        assert said.json()["revokedAt"]
    assert not opens(client, bot.key)
    changes = Change.objects.filter(action="revoke key", subject_id=str(mine.pk))
    assert [(each.actor, each.reason) for each in changes] == [(bot.name, "lost")], "the repeat changes nothing"


@pytest.mark.parametrize("said", [{}, {"id": "1"}, {"id": 0}, {"id": 1, "force": True}, {"id": None}])
def test_which_key_is_read_strictly(client: Client, said: dict[str, Any]) -> None:
    assert revoke(client, factories.participant().key, **said).status_code == 400


def test_last_use_says_when_and_from_where(client: Client) -> None:
    bot = factories.participant()
    client.get(PROBE, headers=bot.auth, REMOTE_ADDR="198.51.100.7")
    client.get(PROBE, headers=bot.auth, REMOTE_ADDR="198.51.100.8")
    key = bot.row.keys.get()
    assert key.last_used_from == "198.51.100.7", "written once a minute"
    assert key.last_used_at is not None

"""Log-ins, log-outs, failed ones, refused keys and denied pages are in the audit log, and cannot fill it."""

from __future__ import annotations

import base64
import io
import logging
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dmr_project.lib import origin
from participants import audit, failures, history, registry, tasks
from participants.models import ApiKey, Change
from tests import factories

pytestmark = pytest.mark.django_db

LIST = "/centops/public/participants"


def log_in(client: Client, name: str, password: str, address: str = "192.0.2.1") -> int:
    data = {"username": name, "password": password}
    return client.post(reverse("admin:login"), data, REMOTE_ADDR=address).status_code


@pytest.fixture
def anna() -> User:
    return User.objects.create_user("anna", password="correct horse", is_staff=True)


def noted(action: str) -> list[dict[str, Any]]:
    rows = Change.objects.filter(action=action).order_by("number")
    fields = ("actor_kind", "actor", "address", "subject", "after")
    return list(rows.values(*fields))


def test_logging_in_and_out_says_who_and_from_where(client: Client, anna: User) -> None:
    assert log_in(client, "anna", "correct horse") == 302
    client.post(reverse("admin:logout"), REMOTE_ADDR="192.0.2.2")
    assert noted("log in") == [
        {
            "actor_kind": "person",
            "actor": "anna",
            "address": "192.0.2.1",
            "subject": "anna",
            "after": {"by": "password"},
        }
    ]
    assert [(each["actor"], each["address"]) for each in noted("log out")] == [("anna", "192.0.2.2")]
    audit.verify()


def test_a_failed_log_in_says_the_name_and_never_the_password(client: Client, anna: User) -> None:
    assert log_in(client, "anna", "wrong horse") == 200
    assert log_in(client, "anna", "wrong donkey") == 200
    assert log_in(client, "x" * 140 + "\u202e", "wrong horse", "192.0.2.9") == 200
    assert not Change.objects.filter(action="log-in refused").exists()
    assert failures.flush() == 3
    assert noted("log-in refused") == [
        {"actor_kind": "unknown", "actor": "", "address": "192.0.2.1", "subject": "anna", "after": {"times": 2}},
        {"actor_kind": "unknown", "actor": "", "address": "192.0.2.9", "subject": "x" * 50, "after": {"times": 1}},
    ]
    said = io.StringIO()
    for line in Change.objects.all():
        said.write(audit.as_json(line))
    assert "horse" not in said.getvalue()
    assert "donkey" not in said.getvalue()


def test_a_refused_key_says_whose_it_was_and_why(client: Client) -> None:
    bot = factories.participant("tax-bot")
    expired, expired_key = registry.issue_key(bot.row, actor="anna", expires_at=timezone.now() - timedelta(days=1))
    revoked, revoked_key = registry.issue_key(bot.row, actor="anna")
    registry.revoke_key(revoked, actor="anna")
    for key in (expired_key, revoked_key, revoked_key, "unknown-one", "unknown-two"):
        assert client.get(LIST, headers={"X-Api-Key": key}, REMOTE_ADDR="192.0.2.1").status_code == 401
    assert client.get(LIST, headers=bot.auth).status_code == 200
    assert client.get(LIST).status_code == 401  # no key at all: nothing was tried
    failures.flush()
    found = {(each["subject"], each["after"]["why"], each["after"]["times"]) for each in noted("key refused")}
    assert found == {(str(expired), "expired", 1), (str(revoked), "revoked", 2), ("", "unknown", 2)}
    assert {each["address"] for each in noted("key refused")} == {"192.0.2.1"}
    mine = Change.objects.filter(action="key refused", institution=bot.row.institution.public_id)
    assert mine.count() == 2


def test_a_secret_sent_under_anothers_name_is_a_refused_key(client: Client) -> None:
    """As clients of the second generation write it."""
    one, other = factories.participant("tax-bot"), factories.participant("police-bot")
    written = base64.b64encode(f"{other.name}:{one.key}".encode()).decode()
    assert client.get("/centops/clients", headers={"Authorization": written}).status_code == 401
    failures.flush()
    (said,) = noted("key refused")
    assert said["subject"].endswith("of tax-bot")
    assert said["after"] == {"why": "sent under another's name, or valid only since", "times": 1}


def test_a_deleted_participants_key_says_so(client: Client) -> None:
    bot = factories.participant()
    ApiKey.objects.filter(participant=bot.row).update(revoked_at=None)
    registry.remove_participant(bot.row, actor="anna")
    client.get(LIST, headers=bot.auth)
    failures.flush()
    assert noted("key refused")[0]["after"]["why"] == "revoked"


def test_an_attack_leaves_few_entries_and_its_size(client: Client) -> None:
    for number in range(100):
        with origin.of(f"192.0.2.{number}"):
            for attempt in range(50):
                failures.count(failures.LOG_IN, f"name {attempt}")
                failures.count(failures.KEY, f"digest {attempt}")
    assert len(failures._counted) <= failures.MOST_ADDRESSES + 2
    assert failures.flush() == 10_000
    rows = Change.objects.filter(action__in=("log-in refused", "key refused"))
    assert rows.count() <= (failures.MOST_ADDRESSES + 2) * (failures.MOST_WHATS + 1)
    assert sum(row.after["times"] for row in rows) == 10_000
    assert failures.ELSEWHERE in {row.address for row in rows}
    assert failures.flush() == 0


def test_a_refusal_costs_the_request_no_write(client: Client, django_assert_num_queries: Any) -> None:
    factories.participant()
    headers = {"X-Api-Key": "unknown-key"}
    with django_assert_num_queries(2) as seen:  # the registry's version, and the key
        client.get(LIST, headers=headers)
    assert all(query["sql"].startswith("SELECT") for query in seen.captured_queries)


def test_a_thread_begins_once_and_again_when_there_is_something_again(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    pauses: list[float] = []
    monkeypatch.setattr(failures, "_is_running", False)
    monkeypatch.setattr(failures, "start", lambda: started.append(1))
    monkeypatch.setattr(failures.time, "sleep", pauses.append)
    monkeypatch.setattr(failures.connection, "close", lambda: None)
    for _ in range(3):
        failures.count(failures.LOG_IN, "anna")
    assert len(started) == 1
    failures._flush_now_and_then()
    assert pauses == [failures.FIRST_SECONDS, failures.SECONDS]
    assert noted("log-in refused")[0]["after"] == {"times": 3}
    failures.count(failures.LOG_IN, "anna")
    assert len(started) == 2


def test_what_staff_may_not_do_is_noted(client: Client, anna: User) -> None:
    client.force_login(anna)
    url = reverse("admin:participants_room_changelist")
    assert client.get(url, REMOTE_ADDR="192.0.2.1").status_code == 403
    (found,) = noted("denied")
    assert (found["actor"], found["address"]) == ("anna", "192.0.2.1")
    assert found["after"] == {"method": "GET", "path": url}


def test_the_head_goes_into_the_log_of_the_process(caplog: pytest.LogCaptureFixture) -> None:
    factories.participant()
    newest = Change.objects.chained().last()
    assert newest is not None
    with caplog.at_level(logging.INFO):
        tasks.anchor()
    (record,) = [record for record in caplog.records if record.message == "audit_head"]
    assert record.facts == {"number": newest.number, "hash": newest.hash, "adopted": 0}  # type: ignore[attr-defined]


def test_within_a_transaction_a_note_is_written_with_it() -> None:
    with history.atomic():
        history.note("log in", "anna", kind="user", subject="anna")
        assert not Change.objects.exists()
    assert Change.objects.get().subject == "anna"

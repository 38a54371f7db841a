"""The audit log is one chain, whoever writes at the same time, and neither code nor database lets it be altered."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

import pytest
import rfc8785
from django.db import IntegrityError, connection, models, transaction
from django.db.migrations.loader import MigrationLoader
from django.test import Client

from dmr_project.lib import origin
from participants import append_only, audit, chain, history, registry, rooms
from participants.models import Archive, ChainHead, Change, Institution, RegistryVersion
from participants.querysets import AppendOnly
from tests import factories


@pytest.fixture
def log() -> list[Change]:
    """Some entries of all kinds."""
    bot = factories.participant()
    registry.set_status([bot.row], "Suspended", actor="anna", reason="it misbehaves")
    registry.issue_key(bot.row, actor=history.STAFF_KEY, note="of May")
    return list(Change.objects.chained())


@pytest.mark.django_db
def test_every_entry_follows_the_one_before(log: list[Change]) -> None:
    assert len(log) > 5
    assert [change.number for change in log] == list(range(1, len(log) + 1))
    assert [change.previous_hash for change in log] == [chain.GENESIS, *(change.hash for change in log[:-1])]
    verified = audit.verify()
    assert (verified.number, verified.hash, verified.entries) == (len(log), log[-1].hash, len(log))


@pytest.mark.django_db
def test_an_entry_says_who_when_from_where_what_and_why(log: list[Change]) -> None:
    with origin.of("192.0.2.7"):
        registry.set_status([factories.participant("tax-bot").row], "Suspended", actor="anna", reason="it misbehaves")
    change = Change.objects.get(subject="tax-bot", action="change")
    said = chain.line(change)
    assert said["actorKind"] == "person"
    assert said["actor"] == "anna"
    assert said["address"] == "192.0.2.7"
    assert said["object"] == {"kind": "participant", "id": change.subject_id, "name": "tax-bot"}
    assert said["institution"]["name"].startswith("Ministry ")
    assert (said["before"], said["after"]) == ({"status": "Active"}, {"status": "Suspended"})
    assert said["reason"] == "it misbehaves"
    assert change.hash == chain.digest(said)
    assert Change.objects.filter(actor="staff key", actor_kind="key", kind="apikey").exists()


@pytest.mark.django_db
def test_the_address_is_the_clients_own(client: Client, staff_key: str) -> None:
    client.post(
        "/centops/admin/institutions",
        json.dumps({"name": "Ministry of tests"}),
        content_type="application/json",
        headers={"X-Api-Key": staff_key, "X-Forwarded-For": "198.51.100.1"},
        REMOTE_ADDR="192.0.2.9",
    )
    assert Change.objects.get(subject="Ministry of tests").address == "192.0.2.9"
    assert origin.current() == ""


@pytest.mark.django_db
@pytest.mark.parametrize(
    "value",
    [
        1.0, -0.0, 0.1, 1e300, float("nan"), float("-inf"), 2**60, -(2**60), 1e-7, True, None, "a\x00b", "\ud800",
        "Õnneks ✓ 🦉", uuid.UUID(int=7), ("tuple", {"nested": [1, 2.5]}), {"b": 1, "a": {"\x00": 2}},
    ],
)  # fmt: skip
def test_whatever_is_told_comes_back_as_it_was_hashed(value: object) -> None:
    history.note("try", "anna", kind="test", after={"value": value})
    change = Change.objects.get(action="try")
    assert change.hash == chain.digest(chain.line(change))
    assert rfc8785.dumps(change.after)


@pytest.mark.django_db
def test_texts_that_are_too_long_are_cut() -> None:
    with origin.of("x" * 300):
        history.note(*["y" * 300] * 2, kind="z" * 300, subject="s" * 300, subject_id="i" * 300, reason="r" * 900)
    assert audit.verify().entries == 1


@pytest.mark.django_db
def test_secrets_are_not_told(log: list[Change]) -> None:
    bot = factories.participant()
    said = json.dumps([chain.line(change) for change in Change.objects.all()])
    assert bot.key not in said
    for key in bot.row.keys.all():
        assert key.digest not in said
    for model in (Institution, Archive):
        for field in model._meta.concrete_fields:
            assert "password" not in field.name
    from django.contrib.auth.models import User

    assert "password" not in history.facts(User(username="anna", password="hash"))


# -- one transaction, one unbroken chain --


class Failed(Exception):
    pass


def fail_after_noting(action: str, block: Callable[[], AbstractContextManager[Any]]) -> None:
    with pytest.raises(Failed), block():
        note_and_fail(action)


def note_and_fail(action: str) -> None:
    history.note(action, "anna", kind="test")
    raise Failed


def fail_around(action: str) -> None:
    with history.atomic():
        history.note(action, "anna", kind="test")
    raise Failed


@pytest.mark.django_db
def test_what_fails_is_not_told() -> None:
    fail_after_noting("outermost", history.atomic)
    with pytest.raises(Failed), history.atomic():
        fail_around("within what fails")
    with history.atomic():
        history.note("outer", "anna", kind="test")
        fail_after_noting("inner", history.atomic)
        fail_after_noting("in a plain savepoint", transaction.atomic)
        with transaction.atomic():
            history.note("in another", "anna", kind="test")
    assert set(Change.objects.values_list("action", flat=True)) == {"outer", "in another"}
    audit.verify()


@pytest.mark.django_db
def test_entries_are_the_last_act_of_a_transaction() -> None:
    """The lock of the head is not held while other rows are locked."""
    row = factories.institution()
    with history.atomic():
        number, version = ChainHead.objects.get().number, RegistryVersion.objects.get().number
        history.record("change", row, "anna", after={"name": "x"})
        assert (ChainHead.objects.get().number, RegistryVersion.objects.get().number) == (number, version)
    assert (ChainHead.objects.get().number, RegistryVersion.objects.get().number) == (number + 1, version + 1)


@pytest.mark.django_db
def test_a_note_is_no_change_of_the_registry() -> None:
    factories.institution()
    version = RegistryVersion.objects.get().number
    history.note("log in", "anna", kind="user", subject="anna")
    assert RegistryVersion.objects.get().number == version


@pytest.mark.django_db
def test_a_record_without_a_transaction_is_a_mistake(transactional_db: None) -> None:
    row = factories.institution()
    with pytest.raises(AssertionError):
        history.record("change", row, "anna")


@pytest.mark.django_db(transaction=True)
def test_writers_at_the_same_time_give_one_chain_and_never_wait_for_each_other_for_ever() -> None:
    """Each transaction locks rows in another order, and records between its locks."""
    bots = [factories.participant() for _ in range(4)]
    room = factories.room()
    ready = threading.Barrier(4)
    started = Change.objects.count()

    def write(number: int) -> None:
        try:
            ready.wait(10)
            for turn in range(5):
                order = bots[number:] + bots[:number]
                with history.atomic():
                    for bot in order[:1]:
                        rooms.join(room, bot.row, actor=f"writer {number}")
                    registry.issue_key(order[0].row, actor=f"writer {number}", note=str(turn))
                    registry.set_status([order[0].row], "Suspended", actor=f"writer {number}")
                    rooms.leave(room, order[0].row, actor=f"writer {number}")
                registry.set_status([bot.row for bot in order], "Active", actor=f"writer {number}")
                history.note("try", f"writer {number}", kind="test")
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write, number) for number in range(4)]:
            done.result(60)
    assert Change.objects.filter(action="try").count() == 20
    assert audit.verify().entries == Change.objects.count() > started + 80


@pytest.mark.django_db(transaction=True)
def test_removing_a_participant_while_its_keys_are_revoked_ends_well() -> None:
    """What once could have waited in a circle: keys' rows, and the one row that all changes hold."""
    for _ in range(5):
        bot = factories.participant()
        keys = [bot.row.keys.get(), *(registry.issue_key(bot.row, actor="anna")[0] for _ in range(3))]
        acts: list[Callable[[], object]] = [
            lambda bot=bot: registry.remove_participant(bot.row, actor="anna"),  # type: ignore[misc]
            lambda keys=keys: [registry.revoke_key(key, actor="bert") for key in reversed(keys)],  # type: ignore[misc]
        ]
        ready = threading.Barrier(2)

        def run(act: Callable[[], object], ready: threading.Barrier = ready) -> None:
            try:
                ready.wait(10)
                act()
            finally:
                connection.close()

        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(run, act) for act in acts]:
                done.result(30)
    audit.verify()


# -- append-only --


@pytest.mark.django_db
def test_code_cannot_alter_the_log(log: list[Change]) -> None:
    change = log[2]
    change.actor = "somebody else"
    attempts: list[Callable[[], object]] = [
        change.save,
        change.delete,
        lambda: Change.objects.filter(pk=change.pk).update(actor="somebody else"),
        lambda: Change.objects.bulk_update([change], ["actor"]),
        lambda: Change.objects.filter(pk=change.pk).delete(),
        Change.objects.all().delete,
    ]
    for attempt in attempts:
        with pytest.raises(AppendOnly):
            attempt()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE participants_change SET actor = 'somebody else' WHERE number = 3",
        "UPDATE participants_change SET number = NULL WHERE number = 3",
        "DELETE FROM participants_change WHERE number = 3",
        "DELETE FROM participants_change",
        "UPDATE participants_archive SET number = 100",
        "DELETE FROM participants_archive",
    ],
)
def test_the_database_lets_nobody_alter_the_log(log: list[Change], statement: str) -> None:
    with append_only.lifted(connection):
        Archive.objects.create(number=1, hash=log[0].hash, file_digest="")
    with pytest.raises(IntegrityError, match=append_only.MESSAGE), transaction.atomic():
        connection.cursor().execute(statement)
    if connection.vendor == "postgresql":
        with pytest.raises(IntegrityError, match=append_only.MESSAGE), transaction.atomic():
            connection.cursor().execute("TRUNCATE participants_change")
    assert audit.verify(), "and what is archived may go"
    assert Change.objects.archived(1) == 1


@pytest.mark.django_db
def test_what_the_release_before_writes_is_adopted(log: list[Change]) -> None:
    """Its INSERT knows no column of the chain."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO participants_change (at, actor, action, kind, subject, subject_id, before, after, reason) "
            "VALUES ('2026-05-01 10:00:00+00:00', 'old', 'change', 'room', 'r', '7', '{}', '{\"a\": 1.0}', '')"
        )
    with pytest.raises(audit.Broken, match="1 entries stand outside"):
        audit.verify()
    with transaction.atomic():
        assert chain.adopt() == 1
        assert chain.adopt() == 0
    assert audit.verify().entries == len(log) + 1
    assert Change.objects.get(actor="old").number == len(log) + 1


def forge(statement: str, *parameters: object) -> None:
    """As somebody does who may do anything in the database."""
    with append_only.lifted(connection), connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def copied(source: int, **columns: object) -> None:
    """Another entry, made from one that is there."""
    row = Change.objects.get(number=source)
    row.pk = None
    for name, value in columns.items():
        setattr(row, name, value)
    with append_only.lifted(connection):
        models.QuerySet.bulk_create(Change.objects.all(), [row])


@pytest.mark.django_db
class TestVerifyFinds:
    """What somebody did who may do anything in the database; `kept` is a head that was kept elsewhere."""

    @pytest.fixture
    def kept(self, log: list[Change]) -> tuple[int, str]:
        assert len(log) >= 6
        return log[-1].number or 0, log[-1].hash

    def broken(self, message: str, kept: tuple[int, str] | None = None) -> None:
        with pytest.raises(audit.Broken, match=message):
            audit.verify(dict([kept]) if kept else None)

    @pytest.mark.parametrize(
        "assignment",
        [
            "actor = 'somebody else'",
            "at = '2020-01-01 00:00:00+00:00'",
            'after = \'{"name": "other"}\'',
            "reason = 'another'",
            "address = '192.0.2.66'",
            "actor_kind = 'key'",
            "institution_name = 'another'",
        ],
    )
    def test_a_changed_entry(self, kept: tuple[int, str], assignment: str) -> None:
        forge(f"UPDATE participants_change SET {assignment} WHERE number = 4")
        self.broken("Entry 4 was altered")

    def test_a_changed_entry_whose_hash_was_made_anew(self, kept: tuple[int, str]) -> None:
        row = Change.objects.get(number=3)
        row.actor = "somebody else"
        forge("UPDATE participants_change SET actor=%s, hash=%s WHERE number = 3", row.actor,
              chain.digest(chain.line(row)))  # fmt: skip
        self.broken("Entry 4 does not follow entry 3")

    def test_a_removed_entry(self, kept: tuple[int, str]) -> None:
        forge("DELETE FROM participants_change WHERE number = 3")
        self.broken("Entry 3 is missing: after entry 2 comes 4")

    def test_the_first_one_removed(self, kept: tuple[int, str]) -> None:
        forge("DELETE FROM participants_change WHERE number = 1")
        self.broken("Entry 1 is missing")

    def test_a_removed_entry_and_the_others_moved_up(self, kept: tuple[int, str]) -> None:
        forge("DELETE FROM participants_change WHERE number = 3")
        for number in range(4, kept[0] + 1):
            forge("UPDATE participants_change SET number = %s WHERE number = %s", number - 1, number)
        self.broken("Entry 3 does not follow entry 2")

    def test_two_exchanged(self, kept: tuple[int, str]) -> None:
        for before, after in ((3, -1), (4, 3), (-1, 4)):
            forge("UPDATE participants_change SET number = %s WHERE number = %s", after, before)
        self.broken("Entry 3 does not follow entry 2")

    def test_one_put_in_at_the_end(self, kept: tuple[int, str]) -> None:
        row = Change.objects.get(number=kept[0])
        row.number, row.previous_hash = kept[0] + 1, kept[1]
        copied(kept[0], number=row.number, previous_hash=kept[1], hash=chain.digest(chain.line(row)))
        self.broken(f"Entry {kept[0] + 1} is not the newest that was written, which is {kept[0]}")

    def test_one_put_in_without_a_number(self, kept: tuple[int, str]) -> None:
        copied(2, number=None)
        self.broken("1 entries stand outside of the chain")

    def test_the_end_cut_off(self, kept: tuple[int, str]) -> None:
        forge("DELETE FROM participants_change WHERE number >= %s", kept[0] - 1)
        self.broken(f"Entry {kept[0] - 1} is missing, and all after it up to {kept[0]}")

    def test_everything_gone(self, kept: tuple[int, str]) -> None:
        forge("DELETE FROM participants_change")
        self.broken("Entry 1 is missing, and all after it")

    def test_the_end_cut_off_and_the_head_with_it(self, kept: tuple[int, str]) -> None:
        forge("DELETE FROM participants_change WHERE number >= %s", kept[0] - 1)
        last = Change.objects.chained().last()
        assert last is not None
        forge("UPDATE participants_chainhead SET number = %s, hash = %s", last.number, last.hash)
        audit.verify()  # nothing in the database can tell
        self.broken(f"Entry {kept[0] - 1} is missing: the log once went on to {kept[0]}", kept)

    def test_the_whole_chain_written_anew(self, kept: tuple[int, str]) -> None:
        with append_only.lifted(connection):
            head = ChainHead(pk=1, number=0, hash=chain.GENESIS)
            for row in list(Change.objects.chained()):
                row.actor = "somebody else"
                chain.link(head, row)
                models.QuerySet.update(
                    Change.objects.filter(pk=row.pk), actor=row.actor, previous_hash=row.previous_hash, hash=row.hash
                )
            head.save()
        audit.verify()
        self.broken(f"Entry {kept[0]} is not the one whose hash was kept", kept)


@pytest.mark.django_db
def test_what_was_written_before_there_was_a_chain_is_brought_in(log: list[Change]) -> None:
    """As migration 0005 finds it: without numbers, and with the kind of the actor in its name."""
    rows = Change.objects.order_by("id")
    with append_only.lifted(connection):
        bare = {"number": None, "previous_hash": "", "hash": "", "institution": None, "institution_name": ""}
        models.QuerySet.update(Change.objects.all(), actor_kind="person", **bare)
        models.QuerySet.update(rows.filter(actor="anna"), actor="participant bot-9")
        ChainHead.objects.all().delete()
        as_it_was = MigrationLoader(connection).project_state(("participants", "0004_audit_log")).apps
        import_module("participants.migrations.0005_chain").bring_in(as_it_was, None)
    assert audit.verify().entries == len(log)
    assert list(rows.values_list("number", flat=True)) == list(range(1, len(log) + 1))
    kinds = dict(rows.values_list("actor", "actor_kind"))
    assert kinds == {"system": "system", "tests": "person", "bot-9": "participant", "staff key": "key"}
    assert Change.objects.filter(kind="apikey").exclude(institution_name="").exists()
    assert Change.objects.get(action="register", actor="tests").institution_name.startswith("Ministry")

"""The change feed: whoever follows its cursor has the list, whatever happens meanwhile."""

from __future__ import annotations

import random
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from participants import append_only, audit, listing, registry
from participants.listing import Cursor, Position
from participants.models import Change, Participant
from tests import factories
from tests.factories import Registered

URL = "/api/v1/participants/changes"


class Copy:
    """What a client keeps, as docs/participant-list.md tells it to."""

    def __init__(self, client: Client, who: Registered, limit: int = 500) -> None:
        self.client, self.who, self.limit = client, who, limit
        self.cursor = ""
        self.entries: dict[str, dict[str, str]] = {}
        self.resets = self.answers = 0

    def follow(self) -> list[tuple[str, str]]:
        """Asks until there is no more. Returns (change, name) of each."""
        found, fresh = [], None
        while True:
            asked = {"since": self.cursor, "limit": self.limit} if self.cursor else {"limit": self.limit}
            answer = self.client.get(URL, asked, headers=self.who.auth)
            assert answer.status_code == 200, answer.content
            said = answer.json()
            self.answers += 1
            if said["reset"]:
                self.resets += 1
                fresh = {}
            into = self.entries if fresh is None else fresh
            for each in said["changes"]:
                known = into.get(each["id"]) or self.entries.get(each["id"]) or {}
                found.append((each["change"], (each["participant"] or known).get("name", "?")))
                if each["participant"] is None:
                    into.pop(each["id"], None)
                else:
                    into[each["id"]] = each["participant"]
            self.cursor = said["cursor"]
            if not said["more"]:
                self.entries = into
                return found


def listed() -> dict[str, dict[str, str]]:
    rows = Participant.objects.active().select_related("institution")
    return {str(row.public_id): listing.entry(row) for row in rows}


@pytest.fixture
def copy(client: Client) -> Copy:
    return Copy(client, factories.participant("reader"))


def change(row: Participant, **fields: Any) -> None:
    row.refresh_from_db()
    for name, value in fields.items():
        setattr(row, name, value)
    registry.update(row, actor="tests")


@pytest.mark.django_db
def test_begins_with_the_whole_list(copy: Copy) -> None:
    factories.participant("police")
    assert copy.follow() == [("added", "dmr-relay"), ("added", "reader"), ("added", "police")]
    assert copy.resets == 1
    assert copy.entries == listed()
    assert copy.follow() == []
    assert copy.resets == 1


@pytest.mark.django_db
def test_tells_who_came_changed_and_left(copy: Copy) -> None:
    police, tax = factories.participant("police"), factories.participant("tax-board")
    copy.follow()
    education = factories.participant("education")
    change(police.row, host="http://elsewhere.invalid/messages")
    registry.remove_participant(tax.row, actor="tests")
    assert copy.follow() == [("added", "education"), ("changed", "police"), ("removed", "tax-board")]
    assert copy.entries == listed()
    registry.set_status([education.row], Participant.Status.SUSPENDED, actor="tests")
    assert copy.follow() == [("removed", "education")]
    change(education.row, host="http://elsewhere.invalid/1")
    assert copy.follow() == [], "nobody sees it"
    registry.set_status([education.row], Participant.Status.ACTIVE, actor="tests")
    assert copy.follow() == [("added", "education")]
    assert copy.entries == listed()


@pytest.mark.django_db
def test_says_each_participant_once_as_it_is_now(copy: Copy) -> None:
    police = factories.participant("police")
    copy.follow()
    for number in range(3):
        change(police.row, host=f"http://elsewhere.invalid/{number}")
    passer = factories.participant("passer-by")
    registry.remove_participant(passer.row, actor="tests")
    assert copy.follow() == [("changed", "police")]
    assert copy.entries == listed()


@pytest.mark.django_db
def test_what_the_list_does_not_show_does_not_move_it(copy: Copy, client: Client) -> None:
    police = factories.participant("police")
    copy.follow()
    cursor = copy.cursor
    registry.issue_key(police.row, actor="tests")
    change(police.row, wants_receipts=True, contact_email="a@b.ee")
    factories.room("", police)
    assert copy.follow() == []
    assert copy.cursor == cursor


ACTIVE, SUSPENDED = Participant.Status.ACTIVE.value, Participant.Status.SUSPENDED.value


@pytest.mark.parametrize(
    ("entries", "is_listed", "step"),
    [
        ([{}], True, "added"),
        ([{}], False, None),
        ([{"host": "a"}], True, "changed"),
        ([{"host": "a"}], False, None),
        ([{"status": ACTIVE}], False, "removed"),
        ([{"status": SUSPENDED}], True, "added"),
        ([{"status": SUSPENDED}], False, None),
        ([{"host": "a"}, {"status": ACTIVE}], False, "removed"),
        ([{"status": ACTIVE}, {"status": SUSPENDED}], True, "changed"),
        ([{"status": SUSPENDED}, {"status": ACTIVE}], False, None),
        ([{}, {"status": ACTIVE}], False, None),
    ],
)
def test_what_became_of_a_participant(entries: list[dict[str, str]], is_listed: bool, step: str | None) -> None:
    changes = [Change(before=before) for before in entries]
    assert listing.became(changes, is_listed=is_listed) == step


@pytest.mark.parametrize(
    "text",
    ["12-3f9a0c1b", "0-00000000", "12-3f9a0c1b-480", "12-3f9a0c1b-0"],
)
def test_cursors_are_read_as_they_are_written(text: str) -> None:
    assert str(listing.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12",
        "-",
        "12-",
        "12-3f9a0c1",
        "12-3F9A0C1B",
        "012-3f9a0c1b",
        "12-3f9a0c1b-",
        "1" * 30 + "-3f9a0c1b",
        "١-3f9a0c1b",
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert listing.parse(text) is None


@pytest.mark.django_db
@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_any_page_size_comes_to_the_same(client: Client, limit: int) -> None:
    bots = [factories.participant() for _ in range(6)]
    copy = Copy(client, bots[0], limit)
    copy.follow()
    assert copy.entries == listed()
    assert copy.answers > 7 // limit
    rng = random.Random(limit)
    for _ in range(8):
        for _ in range(rng.randrange(5)):
            one = rng.choice(bots)
            rng.choice([toggle, move, leave_and_come])(one, bots)
        copy.follow()
        assert copy.entries == listed()
    assert copy.resets == 1


def toggle(one: Registered, bots: list[Registered]) -> None:
    if one is not bots[0]:
        one.row.refresh_from_db()
        new = ACTIVE if one.row.status == SUSPENDED else SUSPENDED
        registry.set_status([one.row], new, actor="tests")


def move(one: Registered, bots: list[Registered]) -> None:
    change(one.row, host=f"http://{random.randrange(10**9)}.invalid/")


def leave_and_come(one: Registered, bots: list[Registered]) -> None:
    if one is not bots[0]:
        registry.remove_participant(one.row, actor="tests")
        bots[bots.index(one)] = factories.participant(one.name)


@pytest.mark.django_db
def test_what_changes_between_two_pages_of_the_whole_list_is_told_after_it(client: Client) -> None:
    bots = [factories.participant(f"bot-{name}") for name in "abcdef"]
    copy = Copy(client, bots[0], 3)
    asked: list[dict[str, Any]] = []
    ask = client.get

    def get(url: str, data: dict[str, Any], **kwargs: Any) -> Any:
        asked.append(data)
        if len(asked) == 2:
            registry.remove_participant(bots[1].row, actor="tests")  # of the page that was given
            registry.remove_participant(bots[5].row, actor="tests")  # of one that is to come
            factories.participant("bot-g")
        return ask(url, data, **kwargs)

    client.get = get  # type: ignore[method-assign]
    copy.follow()
    copy.follow()
    assert copy.entries == listed()
    assert copy.resets == 1


@pytest.mark.django_db
@pytest.mark.parametrize("since", ["nonsense", "999999-3f9a0c1b", "1-00000000", "0-3f9a0c1b", "5-00000000-3"])
def test_a_cursor_that_is_not_known_begins_anew(client: Client, since: str) -> None:
    reader = factories.participant()
    said = client.get(URL, {"since": since}, headers=reader.auth)
    assert said.status_code == 200
    assert said.json()["reset"] is True
    assert len(said.json()["changes"]) == 2


@pytest.mark.django_db
def test_one_from_before_a_backup_was_restored_begins_anew(copy: Copy) -> None:
    """The numbers come again, for other changes."""
    copy.follow()
    position = listing.position()
    with append_only.lifted(connection), connection.cursor() as cursor:
        cursor.execute("UPDATE participants_change SET hash = %s WHERE number = %s", ["f" * 64, position.number])
    listing.forget()
    assert copy.follow() == [("added", "dmr-relay"), ("added", "reader")]
    assert copy.resets == 2


@pytest.mark.django_db
def test_one_whose_entry_was_archived_begins_anew(copy: Copy, tmp_path: Any) -> None:
    copy.follow()
    factories.participant("police")
    before = listing.position()
    audit.archive(timezone.now() + timedelta(days=1), tmp_path / "log.jsonl", actor="tests")
    assert listing.position().number >= before.number, "the signed list bears it as its version"
    assert copy.follow()
    assert copy.resets == 2
    assert copy.follow() == []
    assert copy.resets == 2
    factories.participant("tax-board")
    assert copy.follow() == [("added", "tax-board")]
    assert copy.entries == listed()


@pytest.mark.django_db
def test_answers_304_while_nothing_has_changed(copy: Copy, client: Client) -> None:
    copy.follow()
    asked = {"since": copy.cursor}
    first = client.get(URL, asked, headers=copy.who.auth)
    assert first.json() == {"reset": False, "cursor": copy.cursor, "changes": [], "more": False}
    again = client.get(URL, asked, headers={**copy.who.auth, "If-None-Match": first["ETag"]})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
    factories.participant("police")
    later = client.get(URL, asked, headers={**copy.who.auth, "If-None-Match": first["ETag"]})
    assert later.status_code == 200
    assert [each["change"] for each in later.json()["changes"]] == ["added"]


@pytest.mark.django_db
def test_many_that_follow_cost_little(copy: Copy, client: Client, django_assert_max_num_queries: Any) -> None:
    for _ in range(5):
        factories.participant()
    copy.follow()
    others = [Copy(client, factories.participant(announcements="none")) for _ in range(3)]
    for each in others:
        each.cursor, each.entries = copy.cursor, dict(copy.entries)
    copy.follow()
    for each in others:
        client.get("/centops/public/participants", headers=each.who.auth)  # its key is looked up
    for each in others:
        with django_assert_max_num_queries(2):
            each.follow()
        with django_assert_max_num_queries(2):
            each.follow()
        assert each.entries == listed()


@pytest.mark.django_db
def test_an_answer_reads_no_more_than_some_entries(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one who says a thousand times that it comes and goes makes each old cursor dear."""
    monkeypatch.setattr(listing, "MOST_READ", 10)
    police = factories.participant("police")
    copy.follow()
    first, answers = copy.cursor, copy.answers
    for number in range(24):
        change(police.row, host=f"http://elsewhere.invalid/{number}")
        change(police.row, contact_name=f"Nobody sees {number}")
    begun = listing.parse(first)
    assert begun is not None
    page = listing.page(begun, 500, listing.position())
    read = listing.of_participants().filter(number__gt=begun.position.number, number__lte=page.cursor.position.number)
    assert (page.more, read.count()) == (True, 10)
    copy.follow()
    assert copy.answers - answers == 5
    assert copy.entries == listed()
    assert copy.follow() == []


@pytest.mark.django_db
@pytest.mark.parametrize(("limit", "status"), [("0", 400), ("1001", 400), ("x", 400), ("-1", 400), ("1000", 200)])
def test_limits_are_checked(client: Client, limit: str, status: int) -> None:
    assert client.get(URL, {"limit": limit}, headers=factories.participant().auth).status_code == status


@pytest.mark.django_db
def test_is_for_participants(client: Client, staff_key: str) -> None:
    assert client.get(URL, headers={"X-Api-Key": staff_key}).status_code == 403


@pytest.mark.django_db(transaction=True)
def test_no_change_is_lost_between_commits_at_the_same_time(client: Client) -> None:
    """Eight change the registry at once while somebody follows."""
    reader = factories.participant("reader")
    home = factories.institution()
    copy = Copy(client, reader, 5)
    done = threading.Event()
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(6):
                bot = factories.participant(f"bot-{number}-{turn}", institution=home)
                change(bot.row, host=f"http://moved.invalid/{number}/{turn}")
                if turn % 2:
                    registry.remove_participant(bot.row, actor="tests")
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    watcher = threading.Thread(target=lambda: ([each.join(100) for each in threads], done.set()))
    watcher.start()
    while not done.is_set():
        copy.follow()
    watcher.join()
    assert errors == []
    copy.follow()
    assert copy.entries == listed()
    assert len(copy.entries) == 8 * 3 + 2
    assert copy.resets == 1


@pytest.mark.django_db
def test_looks_back_past_many_entries_that_are_none_of_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PIECE", 3)
    police = factories.participant("police")
    expected = listing.position()
    for number in range(10):
        change(police.row, messages_per_second=number + 1)
    listing.forget()
    assert listing.position() == expected
    change(police.row, host="http://elsewhere.invalid/x")
    page = listing.page(Cursor(expected), 10, listing.position())
    assert [each.step for each in page.changes] == ["changed"]
    assert listing.position() == page.cursor.position != Position(0, "00000000")

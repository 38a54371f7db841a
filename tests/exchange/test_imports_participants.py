"""A file first shows what it would change; that is done, and only that, all of it or nothing, by the registry's own
capabilities."""

from __future__ import annotations

import html
import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test import Client
from django.urls import reverse

from dmr_project.lib.errors import InvalidInput
from participants import directory, history, life, registry
from participants.exchange import applying, plan, reading, writing
from participants.exchange.plan import Plan, Verdict
from participants.models import ApiKey, Change, Claim, Institution, Mail, Participant
from staff import roles
from tests import factories
from tests.staff.people import browser, person

pytestmark = pytest.mark.django_db

PAGE = "admin:participants_participant_import"


@pytest.fixture
def office() -> Institution:
    return factories.institution("Tax board")


def planned(*rows: dict[str, Any]) -> Plan:
    return plan.make(reading.read(json.dumps(rows).encode()).rows)


def verdicts(found: Plan) -> list[str]:
    return [each.verdict.value for each in found.entries]


def faults(found: Plan) -> list[tuple[str, str]]:
    return [(fault.column, fault.why) for each in found.entries for fault in each.faults]


def new(name: str = "new-bot", **cells: Any) -> dict[str, Any]:
    return {"name": name, "institution": "Tax board", "host": "http://new.invalid/messages", **cells}


def do(*rows: dict[str, Any], digest: str = "", **said: str) -> applying.Done:
    read = reading.read(json.dumps(rows).encode()).rows
    return applying.apply(read, digest or plan.make(read).digest, actor="anna", **said)


# -- the plan --


def test_says_of_each_row_what_becomes_of_it_and_writes_nothing(office: Institution) -> None:
    one, two = factories.participant("bot-one"), factories.participant("bot-two")
    entries = Change.objects.count()
    found = planned(
        {"name": one.name, "host": "http://elsewhere.invalid/", "wants_receipts": True},
        {"name": two.name, "host": two.row.host},
        new(),
        {"name": "bot-four", "host": "nowhere"},
    )
    assert verdicts(found) == ["changed", "unchanged", "new", "refused"]
    assert [(each.column, each.before, each.after) for each in found.entries[0].differences] == [
        ("host", one.row.host, "http://elsewhere.invalid/"),
        ("wants_receipts", False, True),
    ]
    assert [column for column, _why in faults(found)] == ["institution", "host"]
    assert Change.objects.count() == entries
    assert not Participant.objects.filter(name="new-bot").exists()


def test_what_was_exported_changes_nothing(office: Institution) -> None:
    factories.participant("=bot", institution=office, contact_name="'-Õ", messages_burst=3, wants_receipts=True)
    life.suspend([factories.participant("at-rest").row], actor="tests", reason="it floods")
    life.revoke([factories.participant("left-us").row], actor="tests", reason="it left")
    for form in writing.FORMATS:
        text = "".join(writing.export(Participant.objects.all(), form, actor="tests"))
        found = plan.make(reading.read(text.encode()).rows)
        assert verdicts(found) == ["unchanged"] * 3, faults(found)


def test_an_id_lets_the_name_change(office: Institution) -> None:
    bot = factories.participant("old-name")
    row = {"id": str(bot.row.public_id), "name": "new-name"}
    assert verdicts(planned(row)) == ["changed"]
    do(row)
    bot.row.refresh_from_db()
    assert bot.row.name == "new-name"


@pytest.mark.parametrize(
    ("cells", "column", "why"),
    [
        ({"name": "abc"}, "name", "4 to 50"),
        ({"name": "Classifier"}, "name", "reserved"),
        ({"name": ""}, "name", "must not be empty"),
        ({"institution": "Nobody's"}, "institution", "add it first"),
        ({"institution": ""}, "institution", "must not be empty"),
        ({"host": "ftp://x/"}, "host", "http"),
        ({"type": "Robot"}, "type", "not a valid choice"),
        ({"status": "Suspended"}, "status", "Active, Pending, Disabled"),
        ({"status": "on"}, "status", "Active, Pending, Disabled"),
        ({"delivery_mode": "fax"}, "delivery_mode", "not a valid choice"),
        ({"source_networks": "0.0.0.0/0"}, "source_networks", "too wide"),
        ({"contact_email": "nobody"}, "contact_email", "valid email"),
        ({"messages_burst": "many"}, "messages_burst", "whole number"),
        ({"messages_burst": 0}, "messages_burst", "greater than or equal to 1"),
        ({"wants_receipts": "perhaps"}, "wants_receipts", "true or false"),
        ({"id": "0cf5b0ec-97a9-4a5f-9a4e-0d4dbf6c6c3e"}, "id", "nobody has it"),
        ({"id": "7"}, "id", "nobody has it"),
    ],
)
def test_bad_cells_are_refused_by_column(office: Institution, cells: dict[str, Any], column: str, why: str) -> None:
    found = planned({**new(), **cells})
    assert verdicts(found) == ["refused"]
    assert column in dict(faults(found)), faults(found)
    assert re.search(why, dict(faults(found))[column])


def test_nobody_takes_anothers_name_or_stands_there_twice(office: Institution) -> None:
    one, two = factories.participant("bot-one").row, factories.participant("bot-two").row
    assert faults(planned({"id": str(one.public_id), "name": "bot-two"})) == [("name", "is taken")]
    same = planned({"name": "bot-one"}, {"id": str(one.public_id)}, new(), new(host="http://b/"), {"name": two.name})
    assert verdicts(same) == ["unchanged", "refused", "new", "refused", "unchanged"]
    assert {why for _column, why in faults(same)} == {"the same as in row 1", "the same as in row 3"}


def test_the_status_of_one_that_is_there_and_our_own_entry_are_left_alone(office: Institution) -> None:
    bot = factories.participant("bot-one")
    assert faults(planned({"name": bot.name, "status": "Revoked"}))[0][0] == "status"
    found = planned({"name": "dmr-relay", "host": "http://evil.invalid/"})
    assert faults(found) == [("", "is this relay's own entry, which nobody changes")]


def test_the_digest_is_of_all_that_is_shown(office: Institution) -> None:
    bot = factories.participant("bot-one")
    rows = ({"name": bot.name, "contact_name": "Anna"}, new())
    first = planned(*rows)
    assert planned(*rows).digest == first.digest
    assert planned(rows[1], rows[0]).digest != first.digest
    factories.participant("somebody-else")
    assert planned(*rows).digest == first.digest, "what is not in the file does not count"
    bot.row.contact_name = "Bert"
    registry.update(bot.row, actor="tests")
    assert planned(*rows).digest != first.digest


# -- doing it --


def test_new_ones_are_registered_as_ever_and_get_a_link_and_no_key(office: Institution) -> None:
    done = do(new(technical_email="t@tax.test", status="Pending"), new("quiet-bot"), reason="the reform")
    assert (done.added, done.changed, done.without_link) == (2, 0, ["quiet-bot"])
    row = Participant.objects.get(name="new-bot")
    assert (row.status, row.institution, row.delivery_mode, row.success_statuses) == (
        "Pending",
        office,
        "push",
        "2xx",
    )
    assert [each.name for each in row.rooms.all()] == ["national"]
    assert not ApiKey.objects.filter(participant__institution=office).exists()
    assert [claim.participant for claim in Claim.objects.all()] == [row]
    assert Mail.objects.get().to == "t@tax.test"
    assert directory.current().named("quiet-bot") is not None
    actions = Change.objects.filter(actor="anna").order_by("number").values_list("action", "subject")
    assert list(actions) == [
        ("register", "new-bot"),
        ("register", "quiet-bot"),
        ("offer key", "new-bot"),
        ("import", "2 new, 0 changed participants"),
    ]


def test_changed_ones_leave_what_and_why_and_others_stay(office: Institution) -> None:
    bot, other = factories.participant("bot-one", contact_name="Anna"), factories.participant("bot-two")
    before = history.facts(Participant.objects.get(pk=other.row.pk))
    done = do({"name": bot.name, "contact_name": None}, reason="she left", source="list.csv")
    assert (done.added, done.changed) == (0, 1)
    change = Change.objects.get(action="change", actor="anna")
    assert (change.before, change.after, change.reason) == (
        {"contact_name": "Anna"},
        {"contact_name": ""},
        "she left",
    )
    said = Change.objects.get(action="import")
    assert (said.after["file"], said.reason) == ("list.csv", "she left")
    assert history.facts(Participant.objects.get(pk=other.row.pk)) == before, "nobody is deleted by absence"
    assert directory.current().credential(bot.key) is not None, "its key is what it was"


def test_another_plan_than_was_shown_is_not_done(office: Institution) -> None:
    bot = factories.participant("bot-one")
    rows = ({"name": bot.name, "contact_name": "Anna"}, new())
    shown = planned(*rows).digest
    bot.row.contact_name = "Bert"
    registry.update(bot.row, actor="somebody else")
    with pytest.raises(applying.PlanChanged):
        do(*rows, digest=shown)
    bot.row.refresh_from_db()
    assert bot.row.contact_name == "Bert"
    assert not Participant.objects.filter(name="new-bot").exists()


def test_one_refused_row_refuses_all(office: Institution) -> None:
    with pytest.raises(InvalidInput):
        do(new(), new("bad", host="nowhere"))
    assert not Participant.objects.filter(institution=office).exists()


def test_a_refusal_in_the_middle_undoes_what_was_before_it(
    office: Institution, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = factories.participant("bot-old")

    def somebody_is_first(found: Plan) -> None:
        """Whoever commits after the look at the registry's version."""
        Participant.objects.create(name="bot-two", institution=bot.row.institution, host="http://x.invalid/")

    monkeypatch.setattr(applying, "_lock", somebody_is_first)
    with pytest.raises(applying.PlanChanged, match=r"The name 'bot-two' is taken\. Nothing was imported"):
        do({"name": bot.name, "contact_name": "Anna"}, new("bot-one"), new("bot-two"))
    bot.row.refresh_from_db()
    assert bot.row.contact_name == ""
    assert not Participant.objects.filter(institution=office).exists()
    assert not Change.objects.filter(actor="anna").exists()
    assert not Mail.objects.exists()


def test_planning_holds_nothing_and_is_done_again_only_after_a_change(
    office: Institution, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = factories.participant("bot-one")
    make, within = plan.make, []

    def noted(rows: Any) -> Plan:
        within.append(len(connection.savepoint_ids))
        return make(rows)

    monkeypatch.setattr(applying.plan, "make", noted)
    outside = len(connection.savepoint_ids)
    rows = reading.read(json.dumps([{"name": bot.name, "contact_name": "Anna"}]).encode()).rows
    applying.apply(rows, make(rows).digest, actor="anna")
    assert within == [outside], "in no transaction of its own"


def test_what_somebody_changes_between_planning_and_doing_is_seen(
    office: Institution, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = factories.participant("bot-one")
    lock = applying._lock

    def somebody_is_first(found: Plan) -> None:
        bot.row.contact_name = "Bert"
        registry.update(bot.row, actor="somebody else")
        # What is recorded within a transaction counts at its end: this one's ended before ours began.
        history.advance_version()
        lock(found)

    monkeypatch.setattr(applying, "_lock", somebody_is_first)
    with pytest.raises(applying.PlanChanged, match="Something changed"):
        do({"name": bot.name, "contact_name": "Anna"})


def test_5000_rows_take_few_statements(office: Institution, django_assert_max_num_queries: Any) -> None:
    bots = [factories.participant(f"bot-{number:03}") for number in range(20)]
    rows = [{"name": bot.name, "contact_name": "Anna"} for bot in bots]
    rows += [new(f"new-{number:03}", technical_email="t@tax.test") for number in range(200)]
    with django_assert_max_num_queries(20 + 3 * len(bots)):  # each change its own, and its savepoint
        do(*rows)
    assert Claim.objects.count() == Mail.objects.count() == 200


# -- the admin --


def send(client: Client, content: str | bytes, name: str = "list.csv") -> Any:
    data = content.encode() if isinstance(content, str) else content
    return client.post(reverse(PAGE), {"file": SimpleUploadedFile(name, data)})


def token(answer: Any) -> str:
    found = re.search(r'name="plan" value="([^"]+)"', answer.content.decode())
    assert found
    return html.unescape(found[1])


@pytest.fixture
def registrar() -> Client:
    return browser(person(roles.REGISTRAR, name="reg"))


def test_the_page_shows_first_and_does_then(registrar: Client, office: Institution) -> None:
    bot = factories.participant("bot-one")
    text = "name;institution;host\r\nbot-one;;http://b.invalid/\r\nÕbot;Tax board;http://c.invalid/\r\n"
    page = send(registrar, text.encode("cp1257")).content.decode()
    assert "Windows-1257" in page
    assert "must be printable ASCII" in page
    assert "there is none of that name" in page
    assert 'name="plan"' not in page, "what is refused cannot be done"
    text = "name;host\r\nbot-one;http://b.invalid/\r\n"
    answer = send(registrar, text)
    page = answer.content.decode()
    assert f"<del>{bot.row.host}</del> → http://b.invalid/" in page
    assert "Import 1 participant" in page
    bot.row.refresh_from_db()
    assert bot.row.host != "http://b.invalid/"
    said = registrar.post(reverse(PAGE), {"plan": token(answer), "reason": "moved"}, follow=True).content.decode()
    assert "0 added, 1 changed." in said
    bot.row.refresh_from_db()
    assert bot.row.host == "http://b.invalid/"
    assert Change.objects.get(action="change", subject="bot-one").reason == "moved"


def test_the_page_shows_again_what_changed_meanwhile(registrar: Client) -> None:
    bot = factories.participant("bot-one")
    answer = send(registrar, "name;contact_name\nbot-one;Anna\n")
    bot.row.contact_name = "Bert"
    registry.update(bot.row, actor="somebody else")
    again = registrar.post(reverse(PAGE), {"plan": token(answer)})
    page = again.content.decode()
    assert "Something changed since this was shown." in page
    assert "<del>Bert</del> → Anna" in page
    registrar.post(reverse(PAGE), {"plan": token(again)})
    bot.row.refresh_from_db()
    assert bot.row.contact_name == "Anna"


def test_only_what_was_shown_to_oneself_can_be_done(registrar: Client) -> None:
    bot = factories.participant("bot-one")
    shown = token(send(registrar, "name;contact_name\nbot-one;Anna\n"))
    other = browser(person(roles.REGISTRAR))
    for client, sent in ((other, shown), (registrar, shown[:-1] + "x"), (registrar, "x")):
        assert "too long ago" in client.post(reverse(PAGE), {"plan": sent}).content.decode()
    bot.row.refresh_from_db()
    assert bot.row.contact_name == ""


def test_new_ones_without_a_contact_are_named(registrar: Client, office: Institution) -> None:
    answer = send(registrar, json.dumps([new()]), "list.json")
    said = registrar.post(reverse(PAGE), {"plan": token(answer)}, follow=True).content.decode()
    assert "issue their keys on their pages: new-bot." in said


@pytest.mark.parametrize("content", ["", "name;apiKey\nx;y\n", b"\x00\x01\x02", "x" * (reading.MOST_BYTES + 1)])
def test_the_page_says_what_cannot_be_read(registrar: Client, content: str | bytes) -> None:
    answer = send(registrar, content)
    assert answer.status_code == 200
    assert "errorlist" in answer.content.decode()


def test_what_a_file_says_is_written_as_text(registrar: Client) -> None:
    page = send(registrar, json.dumps([{"name": "<script>x</script>"}]), "<b>.json").content.decode()
    assert "<script>x" not in page
    assert "<b>.json" not in page


@pytest.mark.parametrize("role", [each for each in roles.ROLES if each != roles.REGISTRAR])
def test_only_registrars_import(registrar: Client, role: str) -> None:
    bot = factories.participant("bot-one")
    shown = token(send(registrar, "name;contact_name\nbot-one;Anna\n"))
    client = browser(person(role))
    assert client.get(reverse(PAGE)).status_code == 403
    assert send(client, "name;contact_name\nbot-one;Anna\n").status_code == 403
    assert client.post(reverse(PAGE), {"plan": shown}).status_code == 403
    assert reverse(PAGE) not in client.get(reverse("admin:participants_participant_changelist")).content.decode()
    bot.row.refresh_from_db()
    assert bot.row.contact_name == ""


# -- the command --


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("participants", "import", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_shows_and_with_apply_does(tmp_path: Path, office: Institution) -> None:
    bot = factories.participant("bot-one")
    file = tmp_path / "list.csv"
    file.write_text(
        "name;institution;host\nbot-one;Tax board;http://b.invalid/\nnew-bot;Tax board;http://c.invalid/\n"
    )
    said = run(str(file))
    assert "Read as CSV with semicolons, UTF-8" in said
    assert f"host: '{bot.row.host}' → 'http://b.invalid/'" in said
    assert "3 new-bot: new" in said
    assert "0 refused, 1 new, 1 changed, 0 unchanged" in said
    assert not Participant.objects.filter(name="new-bot").exists()
    digest = said.rpartition("--plan ")[2].strip()
    bot.row.contact_name = "Anna"
    registry.update(bot.row, actor="tests")
    user = person(roles.REGISTRAR)
    done = run(str(file), "--apply", "--plan", digest, "--user", user.username, "--reason", "moved")
    assert "1 added, 1 changed" in done, "what it does not touch may change"
    assert "No contact to mail a link to their keys to: new-bot" in done
    assert Change.objects.get(action="import").actor == user.username
    with pytest.raises(CommandError, match="Something changed"):
        run(str(file), "--apply", "--plan", digest)
    assert "0 refused, 0 new, 0 changed, 2 unchanged" in run(str(file), "--apply")


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("name;institution\nnew-bot;Nobody's\n")
    with pytest.raises(CommandError, match="Nothing is imported while a row is refused"):
        run(str(file), "--apply")
    file.write_text("name;key\nx;y\n")
    with pytest.raises(CommandError, match="There is no such column: key"):
        run(str(file))
    with pytest.raises(CommandError, match="cannot be read"):
        run(str(tmp_path / "nothing.csv"))


def test_the_verdicts_are_counted_in_the_order_of_the_page() -> None:
    assert list(planned({"name": "x"}).counts) == list(Verdict)

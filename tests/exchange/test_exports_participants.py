"""Registrars take participants out as CSV and JSON: what they chose, without keys, harmless in a spreadsheet."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from participants.exchange import writing
from participants.exchange.columns import COLUMNS, unguarded, written
from participants.models import Change, Participant
from staff import roles
from tests import factories
from tests.staff.people import browser, person

ROOT = Path(__file__).resolve().parents[2]
LIST = "admin:participants_participant_changelist"


def exported(form: str, **query: str) -> str:
    client = browser(person(roles.REGISTRAR, name="reg"))
    answer: Any = client.get(reverse("admin:participants_participant_export", args=[form]), query)
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    assert f'.{form}"' in answer["Content-Disposition"]
    text: str = answer.getvalue().decode("utf-8")
    return text


def cells(text: str) -> list[dict[str, str]]:
    assert text.startswith("\ufeff")
    return list(csv.DictReader(StringIO(text[1:], newline=""), delimiter=";"))


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("tax-bot", "tax-bot"),
        ("=1+1", "'=1+1"),
        ("+372 5555", "'+372 5555"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("＝1+1", "'＝1+1"),
        ("'=1", "''=1"),
        ("''", "'''"),
        ("'tis", "''tis"),
        ("a=1", "a=1"),
        ("", ""),
        (None, ""),
        (True, "true"),
        (False, "false"),
        (12, "12"),
    ],
)
def test_no_cell_is_a_formula_and_reading_gives_back_what_was(value: Any, cell: str) -> None:
    assert written(value) == cell
    if isinstance(value, str):
        assert unguarded(cell) == value


@pytest.mark.django_db
def test_csv_has_every_column_of_what_the_filters_choose() -> None:
    bot = factories.participant(
        "=cmd|' /C calc'!A1",
        institution=factories.institution("Töötukassa; Žürii"),
        contact_name='Õnne "Ö"',
        contact_email="onne@amet.test",
        wants_receipts=True,
        messages_per_second=5,
    )
    factories.participant("other-bot", status="Disabled")
    (row,) = cells(exported("csv", status__exact="Active", q="cmd"))
    assert list(row) == [each.name for each in COLUMNS]
    assert row["id"] == str(bot.row.public_id)
    assert row["name"] == "'=cmd|' /C calc'!A1"
    assert row["institution"] == "Töötukassa; Žürii"
    assert row["contact_name"] == 'Õnne "Ö"'
    assert (row["wants_receipts"], row["messages_per_second"], row["stored_bytes_limit"]) == ("true", "5", "")


@pytest.mark.django_db
def test_json_has_values_as_they_are() -> None:
    factories.participant("tax-bot", messages_burst=7)
    factories.participant("police-bot")
    rows = json.loads(exported("json"))
    assert [each["name"] for each in rows] == ["police-bot", "tax-bot"], "by name, without our own entry"
    assert (rows[1]["messages_burst"], rows[1]["stored_bytes_limit"], rows[1]["wants_receipts"]) == (7, None, False)
    assert json.loads("".join(writing.export(Participant.objects.none(), "json", actor="tests"))) == []


@pytest.mark.django_db
def test_no_key_is_in_it() -> None:
    bot = factories.participant()
    digest = bot.row.keys.get().digest
    for form in writing.FORMATS:
        text = "".join(writing.export(Participant.objects.all(), form, actor="tests"))
        assert bot.name in text
        assert bot.key not in text
        assert digest not in text


@pytest.mark.django_db
def test_the_log_says_who_exported_what() -> None:
    factories.participant()
    exported("json", q="bot")
    entry = Change.objects.get(action="export")
    assert (entry.actor, entry.kind, entry.subject) == ("reg", "participant", "1 participants as JSON")
    assert entry.after == {"format": "json", "count": 1, "q": "bot"}


@pytest.mark.django_db
@pytest.mark.parametrize("query", [{"format": "pdf"}, {"count": "1"}, {"status__exact": ["a"], "x__y": "1"}])
def test_an_address_that_asks_for_no_filter_of_the_list_is_refused(query: dict[str, Any]) -> None:
    client = browser(person(roles.REGISTRAR, roles.AUDITOR))
    for url in (
        reverse("admin:participants_participant_export", args=["csv"]),
        reverse("admin:participants_change_export"),
    ):
        assert client.get(url, query).status_code == 400
    assert not Change.objects.filter(action="export").exists()


@pytest.mark.django_db
def test_what_was_asked_for_does_not_hide_what_was_given() -> None:
    rows = Participant.objects.all()
    writing.export(rows, "csv", actor="tests", asked={"format": "json", "count": "0", "q": "bot"})
    said = Change.objects.get(action="export").after
    assert (said["format"], said["count"], said["q"]) == ("csv", 0, "bot")


@pytest.mark.django_db
@pytest.mark.parametrize("form", ["csv", "json"])
def test_what_is_selected_is_exported(form: str) -> None:
    chosen, other = factories.participant(), factories.participant()
    client = browser(person(roles.REGISTRAR))
    data = {"action": f"export_{form}", "_selected_action": [chosen.row.pk]}
    answer: Any = client.post(reverse(LIST), data)
    text = answer.getvalue().decode()
    assert chosen.row.host in text
    assert other.row.host not in text


@pytest.mark.django_db
@pytest.mark.parametrize("role", [each for each in roles.ROLES if each != roles.REGISTRAR])
def test_only_registrars_export(role: str) -> None:
    factories.participant()
    client = browser(person(role))
    assert client.get(reverse("admin:participants_participant_export", args=["csv"])).status_code == 403
    assert (
        reverse("admin:participants_participant_export", args=["csv"])
        not in client.get(reverse(LIST)).content.decode()
    )
    client.post(reverse(LIST), {"action": "export_csv", "_selected_action": ["1"]})
    assert not Change.objects.filter(action="export").exists()


@pytest.mark.django_db
def test_thousands_take_no_more_queries_than_a_few() -> None:
    factories.participant()
    institution = factories.institution()
    Participant.objects.bulk_create(
        Participant(name=f"many-{n}", institution=institution, host="http://many.invalid/") for n in range(1_500)
    )
    with CaptureQueriesContext(
        connection,
    ) as queries:
        rows = sum(1 for _ in writing.export(Participant.objects.order_by("name"), "csv", actor="tests"))
    assert rows == 1 + 1_501
    assert len([each for each in queries.captured_queries if "participants_participant" in each["sql"]]) == 2


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("participants", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_the_command_exports_what_it_is_asked_for() -> None:
    ministry = factories.institution("Tax board")
    factories.participant("tax-bot", institution=ministry)
    factories.participant("tax-two", institution=ministry, status="Disabled")
    factories.participant("sorter", type="Classifier")
    user = person(roles.REGISTRAR)

    def found(*arguments: str) -> list[str]:
        return [each["name"] for each in json.loads(run("export", "--format", "json", *arguments))]

    assert found() == ["sorter", "tax-bot", "tax-two"]
    assert found("--institution", "Tax board", "--status", "Active") == ["tax-bot"]
    assert found("--type", "Classifier", "--user", user.username) == ["sorter"]
    assert [each["name"] for each in cells(run("export"))] == ["sorter", "tax-bot", "tax-two"]
    actors = Change.objects.filter(action="export").order_by("number").values_list("actor", flat=True)
    assert list(actors) == ["command line", "command line", user.username, "command line"]
    with pytest.raises(CommandError, match="There is no institution 'Nobody'"):
        run("export", "--institution", "Nobody")


def test_every_column_is_documented() -> None:
    table = (ROOT / "docs" / "exchange.md").read_text(encoding="utf-8").partition("## Columns")[2]
    for each in COLUMNS:
        assert f"`{each.name}`" in table, each.name

"""The audit list and the history of an object: who, when, from where, what, why; filtered, exported, read-only."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils.html import strip_tags

from dmr_project.lib import origin
from participants import audit, history, registry, rooms
from participants.admin import audit as audit_admin
from participants.admin import look
from participants.models import Change
from tests import factories

pytestmark = pytest.mark.django_db

LIST = "admin:participants_change_changelist"


def text(answer: Any) -> str:
    return " ".join(strip_tags(answer.content.decode()).split())


def listed(client: Client, **asked: str) -> list[Change]:
    answer = client.get(reverse(LIST), asked)
    assert answer.status_code == 200
    return list(answer.context["cl"].result_list)


def test_a_history_page_says_who_from_where_what_and_why(admin_client: Client) -> None:
    bot = factories.participant("tax-bot")
    url = reverse("admin:participants_participant_changelist")
    said = {"reason": "it floods the police", "confirmed": "yes"}
    data = {"action": "suspend", "_selected_action": [bot.row.pk], **said}
    admin_client.post(url, data, REMOTE_ADDR="192.0.2.7")
    page = admin_client.get(reverse("admin:participants_participant_history", args=[bot.row.pk]))
    said = text(page)
    for expected in ("admin", "192.0.2.7", "change", "status", "Active → Suspended", "it floods the police"):
        assert expected in said, expected
    assert "register" in said
    assert bot.row.host in said


def test_a_history_page_has_what_belongs_to_a_participant(admin_client: Client) -> None:
    bot, other = factories.participant("tax-bot"), factories.participant("other-bot")
    key, _ = registry.issue_key(bot.row, actor="anna", note="of May")
    rooms.join(factories.room("room of law"), bot.row, actor="anna")
    registry.issue_key(other.row, actor="anna", note="of June")
    said = text(admin_client.get(reverse("admin:participants_participant_history", args=[bot.row.pk])))
    assert str(key) in said
    assert "tax-bot in room of law" in said
    assert "of June" not in said


@pytest.mark.parametrize("model", ["institution", "room", "apikey"])
def test_every_object_of_the_registry_has_a_history(admin_client: Client, model: str) -> None:
    bot = factories.participant()
    room = factories.room()
    row: Any = {"institution": bot.row.institution, "room": room, "apikey": bot.row.keys.get()}[model]
    said = text(admin_client.get(reverse(f"admin:participants_{model}_history", args=[row.pk])))
    assert "tests" in said
    assert "says nothing" not in said
    assert admin_client.get(reverse(f"admin:participants_{model}_history", args=[999_999])).status_code == 404


def test_a_long_history_goes_on_by_pages(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "HISTORY_ROWS", 3)
    bot = factories.participant()
    for number in range(4):
        registry.set_status([bot.row], "Suspended" if number % 2 == 0 else "Active", actor=f"anna-{number}")
    url = reverse("admin:participants_participant_history", args=[bot.row.pk])
    page = admin_client.get(url)
    assert [entry.actor for entry, *_ in page.context["entries"]] == ["anna-3", "anna-2", "anna-1"]
    older = admin_client.get(url, {"before": page.context["older"]})
    assert "anna-0" in [entry.actor for entry, *_ in older.context["entries"]]
    assert admin_client.get(url, {"before": "x"}).status_code == 200


def test_a_form_and_a_deletion_take_a_reason(admin_client: Client) -> None:
    row = factories.institution("Tax board")
    url = reverse("admin:participants_institution_change", args=[row.pk])
    assert 'name="reason"' in admin_client.get(url).content.decode()
    admin_client.post(url, {"name": "Tax and customs", "status": "Active", "reason": "a merger"})
    assert Change.objects.get(action="change", kind="institution").reason == "a merger"
    url = reverse("admin:participants_institution_delete", args=[row.pk])
    assert 'name="reason"' in admin_client.get(url).content.decode()
    admin_client.post(url, {"post": "yes", "reason": "closed"})
    assert Change.objects.get(action="delete", kind="institution").reason == "closed"


def test_who_may_only_look_sees_forms_and_histories(client: Client) -> None:
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(user)
    bot = factories.participant()
    for model, pk in (("participant", bot.row.pk), ("institution", bot.row.institution_id)):
        for page in ("change", "history"):
            answer = client.get(reverse(f"admin:participants_{model}_{page}", args=[pk]))
            assert answer.status_code == 200, (model, page)
            assert 'name="reason"' not in answer.content.decode()


def test_addresses_are_for_those_who_may_see_the_whole_log(client: Client) -> None:
    user = User.objects.create_user("viewer", is_staff=True)
    client.force_login(user)
    bot = factories.participant()
    with origin.of("192.0.2.77"):
        registry.set_status([bot.row], "Suspended", actor="anna")
    url = reverse("admin:participants_participant_history", args=[bot.row.pk])
    assert client.get(url).status_code == 403
    for codename, is_shown in (("view_participant", False), ("view_change", True)):
        user.user_permissions.add(Permission.objects.get(codename=codename))
        page = client.get(url).content.decode()
        assert "anna" in page
        assert ("192.0.2.77" in page) == is_shown


@pytest.fixture
def some() -> dict[str, Any]:
    """Entries of several days, people and institutions."""
    with time_machine.travel(datetime(2026, 5, 1, 9, tzinfo=timezone.utc), tick=False) as clock:
        tax = factories.participant("tax-bot", institution=factories.institution("Tax board"))
        clock.shift(timedelta(days=1))
        factories.participant("police-bot", institution=factories.institution("Police"))
        clock.shift(timedelta(days=1))
        registry.set_status([tax.row], "Suspended", actor="anna", reason="it floods")
        clock.shift(timedelta(days=1))
        history.note("key refused", history.NOBODY, kind="apikey", after={"times": 3}, address="192.0.2.1")
    return {"tax": tax.row}


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"actor": "anna"}, 1),
        ({"action": "register"}, 3),
        ({"kind": "institution"}, 3),
        ({"object": "tax-bot"}, 2),
        ({"institution": "Police"}, 3),
        ({"since": "2026-05-03"}, 2),
        ({"until": "2026-05-02"}, 9),
        ({"since": "2026-05-02", "until": "2026-05-02"}, 3),
        ({"actor": "anna", "institution": "Police"}, 0),
        ({"institution": "Nobody's"}, 0),
        ({"since": "yesterday"}, 0),
    ],
)
def test_the_list_can_be_filtered(
    admin_client: Client, some: dict[str, Any], asked: dict[str, str], count: int
) -> None:
    found = [row for row in listed(admin_client, **asked) if row.action != "log in"]
    assert len(found) == count, [str(row) for row in found]
    assert found == sorted(found, key=lambda row: -(row.number or 0))


def test_the_list_finds_an_object_by_its_id(admin_client: Client, some: dict[str, Any]) -> None:
    assert len(listed(admin_client, object=str(some["tax"].public_id))) == 2


def test_the_list_says_what_people_ask(admin_client: Client, some: dict[str, Any]) -> None:
    said = text(admin_client.get(reverse(LIST)))
    for expected in ("nobody known", "192.0.2.1", "status: Active → Suspended", "it floods", "Tax board"):
        assert expected in said, expected


def test_every_link_of_the_list_leads_somewhere(admin_client: Client, some: dict[str, Any]) -> None:
    page = admin_client.get(reverse(LIST)).content.decode()
    links = {part.split('"')[0] for part in page.split('<a href="')[1:] if part.startswith("/admin/participants/")}
    assert len(links) > 5
    for link in links:
        assert admin_client.get(link.replace("&amp;", "&")).status_code == 200, link


def test_an_entry_shows_all_of_it(admin_client: Client, some: dict[str, Any]) -> None:
    change = Change.objects.get(actor="anna")
    page = admin_client.get(reverse("admin:participants_change_change", args=[change.pk])).content.decode()
    assert change.hash in page
    assert "<td>Active</td><td>Suspended</td>" in page


def test_nobody_changes_the_log_in_the_admin(admin_client: Client, some: dict[str, Any]) -> None:
    change = Change.objects.get(actor="anna")
    for page, data in (("change", {"actor": "x"}), ("delete", {"post": "yes"})):
        url = reverse(f"admin:participants_change_{page}", args=[change.pk])
        assert admin_client.post(url, data).status_code == 403
    assert admin_client.get(reverse("admin:participants_change_add")).status_code == 403
    assert audit.verify()


def test_what_the_filters_choose_can_be_exported(admin_client: Client, some: dict[str, Any]) -> None:
    answer = admin_client.get(reverse("admin:participants_change_export"), {"institution": "Tax board"})
    assert answer["Content-Disposition"].startswith('attachment; filename="audit-')
    found = [json.loads(line) for line in b"".join(answer.streaming_content).decode().splitlines()]  # type: ignore[attr-defined]
    assert {each["institution"]["name"] for each in found} == {"Tax board"}
    assert [each["number"] for each in found] == sorted(each["number"] for each in found)
    assert Change.objects.get(action="export").after == {"institution": "Tax board"}


def test_an_export_that_is_too_long_is_refused(
    admin_client: Client, some: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_admin, "MOST_EXPORTED", 3)
    page = admin_client.get(reverse("admin:participants_change_export"), follow=True)
    assert "choose fewer" in text(page)


def test_an_export_needs_the_permission(client: Client, some: dict[str, Any]) -> None:
    client.force_login(User.objects.create_user("stranger", is_staff=True))
    assert client.get(reverse("admin:participants_change_export")).status_code == 403


@pytest.mark.parametrize("asked", [{}, {"institution": "Tax board"}, {"since": "2026-05-01"}])
def test_the_list_never_counts_or_reads_all(
    admin_client: Client,
    some: dict[str, Any],
    asked: dict[str, str],
    django_assert_max_num_queries: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit_admin.ChangeAdmin, "list_per_page", 1)
    with django_assert_max_num_queries(9) as seen:
        listed(admin_client, **asked)
    for query in seen.captured_queries:
        if "participants_change" in query["sql"]:
            assert "COUNT(" not in query["sql"].upper()
            assert "LIMIT" in query["sql"]

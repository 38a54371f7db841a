"""An action on many rows first shows what each becomes and what is left alone, and does then what was shown."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.urls import reverse

from participants import registry
from participants.admin.look import ModelAdmin
from participants.models import Change, Institution, Participant
from tests import factories
from tests.staff.people import chosen

pytestmark = pytest.mark.django_db

LIST = "admin:participants_participant_changelist"
CHANGES_NOTHING = {"export_csv", "export_json"}


def bots(count: int) -> list[Participant]:
    return [factories.participant(f"bot-no-{n}").row for n in range(count)]


def statuses() -> dict[str, str]:
    return dict(Participant.objects.filter(name__startswith="bot-no").values_list("name", "status"))


def ask(client: Client, action: str, rows: list[Participant], query: str = "", **said: Any) -> Any:
    data = {"action": action, "_selected_action": [row.pk for row in rows], **said}
    return client.post(reverse(LIST) + query, data)


def test_every_action_shows_first() -> None:
    """A new action on a list is made by bulk.previewed, or changes nothing."""
    request: Any = RequestFactory().get("/admin/")
    request.user = User.objects.create_superuser("root")
    found = set()
    for each in admin.site._registry.values():
        assert isinstance(each, ModelAdmin)
        for name, (function, _name, _description) in each.get_actions(request).items():
            found.add(name)
            is_previewed = getattr(function, "__wrapped__", None) is not None
            assert is_previewed or name in CHANGES_NOTHING, f"{each}.{name}"
    assert {"suspend", "requeue", "delete_selected", "approve", "end_sessions"} <= found


def test_the_page_says_what_changes_what_not_and_why_and_does_nothing(admin_client: Client) -> None:
    rows = bots(3)
    registry.set_status(rows[:1], "Disabled", actor="tests")
    before, entries = statuses(), Change.objects.count()
    answer = ask(admin_client, "activate", rows)
    page = answer.content.decode()
    assert [(row.name, said.before, said.after) for row, said in answer.context["changes"]] == [
        ("bot-no-0", "Disabled", "Active")
    ]
    assert answer.context["left_why"] == [("is so already", 2)]
    assert "1 will change." in page
    assert "2 are left alone." in page
    assert (statuses(), Change.objects.count()) == (before, entries)


def test_only_the_first_rows_are_listed_and_all_are_counted(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("participants.admin.bulk.SHOWN", 2)
    page = ask(admin_client, "suspend", bots(5)).content.decode()
    assert "5 will change." in page
    assert "… and 3 more" in page
    assert "bot-no-2" not in page


def test_a_reason_is_asked_for_and_kept(admin_client: Client) -> None:
    rows = bots(2)
    refused = chosen(admin_client, reverse(LIST), "suspend", rows)
    assert "This field is required" in refused.content.decode()
    assert set(statuses().values()) == {"Active"}
    said = chosen(admin_client, reverse(LIST), "suspend", rows, reason="they flood").content.decode()
    assert "2 suspended; 0 were already" in said
    assert set(statuses().values()) == {"Suspended"}
    assert Change.objects.filter(reason="they flood", actor="admin").count() == 2


def test_what_all_pages_match_is_done_to_those_that_were_shown(admin_client: Client) -> None:
    rows = bots(3)
    query = "?status__exact=Active&q=bot-no"
    page = ask(admin_client, "suspend", rows[:1], query, select_across="1")
    assert page.context["change_count"] == 3
    hidden = page.context["hidden"]
    late = factories.participant("bot-no-late")
    admin_client.post(reverse(LIST) + query, {**hidden, "reason": "they flood"})
    assert statuses() == {**{row.name: "Suspended" for row in rows}, late.name: "Active"}


def test_what_changed_since_the_page_is_left_alone_and_counted(admin_client: Client) -> None:
    rows = bots(2)
    hidden = ask(admin_client, "suspend", rows).context["hidden"]
    registry.set_status(rows[:1], "Revoked", actor="somebody else")
    page = admin_client.post(reverse(LIST), {**hidden, "reason": "they flood"}, follow=True).content.decode()
    assert "1 suspended; 1 were already, or may not be." in page
    assert statuses() == {"bot-no-0": "Revoked", "bot-no-1": "Suspended"}


def test_where_nothing_changes_nothing_can_be_confirmed(admin_client: Client) -> None:
    page = ask(admin_client, "lift", bots(1)).content.decode()
    assert "0 will change." in page
    assert 'type="submit" class="default"' not in page


def test_too_many_at_once_are_refused(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelAdmin, "most_chosen", 2)
    answer = ask(admin_client, "suspend", bots(3))
    assert answer.status_code == 302
    assert "more than 2" in admin_client.get(reverse(LIST)).content.decode()


def test_one_is_reinstated_and_its_key_shown(admin_client: Client) -> None:
    rows = bots(2)
    chosen(admin_client, reverse(LIST), "revoke", rows, reason="they left")
    assert ask(admin_client, "reinstate", rows).status_code == 302
    page = chosen(admin_client, reverse(LIST), "reinstate", rows[:1], reason="it is back").content.decode()
    assert "This key is shown once." in page
    assert statuses() == {"bot-no-0": "Active", "bot-no-1": "Revoked"}


def test_deleting_many_says_what_forbids_it_and_why_it_was_done(admin_client: Client) -> None:
    url = reverse("admin:participants_institution_changelist")
    empty, used = factories.institution("Empty office"), factories.participant().row.institution
    page = admin_client.post(url, {"action": "delete_selected", "_selected_action": [empty.pk, used.pk]})
    assert "still has participants" in page.content.decode()
    assert page.context["change_count"] == 1
    said = chosen(admin_client, url, "delete_selected", [empty, used], reason="merged").content.decode()
    assert "1 deleted; 1 are still there." in said
    assert set(Institution.objects.present().filter(pk__in=[empty.pk, used.pk])) == {used}
    assert Change.objects.get(action="delete").reason == "merged"


def test_names_are_written_as_text(admin_client: Client) -> None:
    row = factories.participant("<b>bold</b>").row
    page = ask(admin_client, "suspend", [row]).content.decode()
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold" in page

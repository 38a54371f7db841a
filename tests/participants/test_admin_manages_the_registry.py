"""Core staff run the registry from Django admin."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from participants import directory, life
from participants.models import ApiKey, Change, Institution, Membership, Participant, Room
from tests import factories
from tests.staff.people import chosen

pytestmark = pytest.mark.django_db


def key_shown(page: str) -> str:
    return page.split('id="key"')[1].split('value="')[1].split('"')[0]


def management_form(prefix: str, total: int = 0, initial: int = 0) -> dict[str, Any]:
    return {f"{prefix}-TOTAL_FORMS": total, f"{prefix}-INITIAL_FORMS": initial}


def form(row: Participant, **changed: Any) -> dict[str, Any]:
    memberships = list(row.memberships.order_by("pk"))
    data: dict[str, Any] = {
        "institution": row.institution_id,
        "name": row.name,
        "type": row.type,
        "host": row.host,
        "status": row.status,
        "delivery_mode": row.delivery_mode,
        "announcements": row.announcements,
        "success_statuses": row.success_statuses,
        **management_form("keys"),
        **management_form("public_keys"),
        **management_form("memberships", len(memberships), len(memberships)),
    }
    for number, membership in enumerate(memberships):
        data |= {
            f"memberships-{number}-id": membership.pk,
            f"memberships-{number}-participant": row.pk,
            f"memberships-{number}-room": membership.room_id,
            **{
                f"memberships-{number}-{name}": "on" for name in ("may_speak", "listens") if getattr(membership, name)
            },
        }
    return data | changed


def test_creating_a_participant_shows_its_key_once(admin_client: Client) -> None:
    institution = factories.institution()
    data = {
        "institution": institution.pk,
        "name": "tax-board",
        "type": "Chatbot",
        "host": "http://bot:8080/messages",
        "status": "Active",
        "delivery_mode": "push",
        "announcements": "important",
        "success_statuses": "2xx",
    }
    answer = admin_client.post(reverse("admin:participants_participant_add"), data)
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    key = key_shown(answer.content.decode())
    credential = directory.current().credential(key)
    assert credential is not None
    assert credential.participant.name == "tax-board"
    row = Participant.objects.get(name="tax-board")
    assert Room.objects.get(name="national") in row.rooms.all()
    page = admin_client.get(reverse("admin:participants_participant_change", args=[row.pk])).content.decode()
    assert key not in page
    assert key[:4] in page
    assert not ApiKey.objects.filter(digest=key).exists()
    assert Change.objects.filter(actor="admin", action="register", subject="tax-board").exists()


def test_a_taken_name_is_refused_in_the_form(admin_client: Client) -> None:
    row = factories.participant("police").row
    data = {
        "institution": row.institution_id,
        "name": "police",
        "type": "Chatbot",
        "host": "http://bot:8080/messages",
        "status": "Active",
        "delivery_mode": "push",
        "announcements": "important",
        "success_statuses": "2xx",
    }
    page = admin_client.post(reverse("admin:participants_participant_add"), data).content.decode()
    assert "is taken" in page
    assert Participant.objects.filter(name="police").count() == 1


def test_another_key_overlaps_with_the_first_and_expires(admin_client: Client) -> None:
    bot = factories.participant()
    url = reverse("admin:participants_participant_issue_key", args=[bot.row.pk])
    answer = admin_client.post(url, {"note": "rotation", "days": 30})
    key = key_shown(answer.content.decode())
    assert directory.current().credential(key) is not None
    assert directory.current().credential(bot.key) is not None
    expires_at = ApiKey.objects.get(note="rotation").expires_at
    assert expires_at is not None
    assert abs(expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)


def test_revoking_a_key_voids_it_at_once_and_counts(admin_client: Client) -> None:
    bot, other = factories.participant(), factories.participant()
    key = bot.row.keys.get()
    url = reverse("admin:participants_apikey_changelist")
    for expected in ("1 revoked; 0 were already", "0 revoked; 1 were already"):
        page = chosen(admin_client, url, "revoke", [key])
        assert expected in page.content.decode()
    assert directory.current().credential(bot.key) is None
    assert directory.current().credential(other.key) is not None


@pytest.mark.parametrize(
    ("action", "before", "after", "says"),
    [
        ("suspend", "Active", "Suspended", "1 suspended"),
        ("suspend", "Suspended", "Suspended", "0 suspended"),
        ("lift", "Suspended", "Active", "1 lifted"),
        ("lift", "Active", "Active", "0 lifted"),
        ("activate", "Suspended", "Active", "1 activated"),
        ("activate", "Disabled", "Active", "1 activated"),
        ("activate", "Pending", "Active", "1 activated"),
        ("activate", "Revoked", "Revoked", "0 activated"),
        ("revoke", "Active", "Revoked", "1 revoked"),
        ("revoke", "Revoked", "Revoked", "0 revoked"),
    ],
)
def test_actions_change_the_status_at_once(
    admin_client: Client, action: str, before: str, after: str, says: str
) -> None:
    bot = factories.participant(status="Active" if before == "Revoked" else before)
    if before == "Revoked":
        life.revoke([bot.row], actor="tests", reason="it is gone")
    url = reverse("admin:participants_participant_changelist")
    page = chosen(admin_client, url, action, [bot.row], reason="it misbehaves")
    assert says in page.content.decode()
    bot.row.refresh_from_db()
    assert bot.row.status == after


def test_changing_a_participant_leaves_who_and_what(admin_client: Client) -> None:
    bot = factories.participant()
    url = reverse("admin:participants_participant_change", args=[bot.row.pk])
    answer = admin_client.post(url, form(bot.row, host="https://elsewhere.example/messages"))
    assert answer.status_code == 302, answer.context["errors"] if answer.context else answer.content
    change = Change.objects.filter(action="change", subject=bot.name).get()
    assert change.actor == "admin"
    assert change.before == {"host": bot.row.host}
    assert change.after == {"host": "https://elsewhere.example/messages"}


def test_a_membership_taken_away_beside_the_participant_ends_it(admin_client: Client) -> None:
    bot = factories.participant()
    url = reverse("admin:participants_participant_change", args=[bot.row.pk])
    assert admin_client.post(url, form(bot.row, **{"memberships-0-DELETE": "on"})).status_code == 302
    assert not Membership.objects.filter(participant=bot.row).exists()
    assert Change.objects.filter(action="leave", actor="admin").exists()


def test_deleting_a_participant_frees_its_name_and_voids_its_key(admin_client: Client) -> None:
    bot = factories.participant("short-lived")
    url = reverse("admin:participants_participant_delete", args=[bot.row.pk])
    assert "Are you sure" in admin_client.get(url).content.decode()
    assert admin_client.post(url, {"post": "yes"}).status_code == 302
    assert directory.current().credential(bot.key) is None
    assert factories.participant("short-lived").row.pk != bot.row.pk


def test_an_institution_with_participants_cannot_be_deleted(admin_client: Client) -> None:
    bot = factories.participant()
    url = reverse("admin:participants_institution_delete", args=[bot.row.institution.pk])
    assert "still has participants" in admin_client.get(url).content.decode()
    admin_client.post(url, {"post": "yes"})
    assert Institution.objects.present().filter(pk=bot.row.institution.pk).exists()


def test_our_own_entry_cannot_be_changed(admin_client: Client) -> None:
    factories.participant()
    relay = directory.relay()
    url = reverse("admin:participants_participant_change", args=[relay.pk])
    assert admin_client.post(url, form(relay, host="http://evil.example/x")).status_code == 403
    relay.refresh_from_db()
    assert "evil" not in relay.host


@pytest.mark.parametrize("model", ["institution", "participant", "apikey", "room", "change"])
def test_lists_can_be_searched_and_do_not_grow_in_queries(
    admin_client: Client, model: str, django_assert_max_num_queries: Any
) -> None:
    for _ in range(15):
        factories.participant()
    with django_assert_max_num_queries(12):
        answer = admin_client.get(reverse(f"admin:participants_{model}_changelist"), {"q": "bot"})
    assert answer.status_code == 200


def test_success_statuses_have_presets(admin_client: Client) -> None:
    bot = factories.participant()
    page = admin_client.get(reverse("admin:participants_participant_change", args=[bot.row.pk])).content.decode()
    assert '<option value="2xx,300" label="Ruuter (2xx, 300)">' in page
    assert 'list="presets"' in page
    assert 'id="presets"' in page
    data = form(bot.row, success_statuses="2xx,418")
    admin_client.post(reverse("admin:participants_participant_change", args=[bot.row.pk]), data)
    bot.row.refresh_from_db()
    assert bot.row.success_statuses == "2xx,418", "a preset is an offer, not a limit"


def test_many_are_taken_for_ruuter_at_once(admin_client: Client) -> None:
    one, two = factories.participant(), factories.participant(success_statuses="2xx,300")
    url = reverse("admin:participants_participant_changelist")
    page = chosen(admin_client, url, "take_for_ruuter", [one.row, two.row]).content.decode()
    assert "1 changed; 1 had it already" in page
    one.row.refresh_from_db()
    assert one.row.success_statuses == "2xx,300"
    change = Change.objects.filter(subject=one.name, action="change").get()
    assert (change.actor, change.before, change.after) == (
        "admin", {"success_statuses": "2xx"}, {"success_statuses": "2xx,300"},
    )  # fmt: skip


def test_a_form_changes_and_deletes_no_other_row(admin_client: Client) -> None:
    page = admin_client.get(reverse("admin:participants_participant_add")).content.decode()
    assert "add_id_institution" in page
    assert "delete_id_institution" not in page
    assert "change_id_institution" not in page


def test_what_many_are_told_is_chosen_at_once(admin_client: Client) -> None:
    """Those that came by the registry's existing contract are told nothing at first, and so are found."""
    one, two = (factories.participant(announcements="none") for _ in range(2))
    other = factories.participant(announcements="all")
    url = reverse("admin:participants_participant_changelist")
    listed = admin_client.get(url, {"announcements__exact": "none"}).content.decode()
    assert one.name in listed
    assert other.name not in listed
    rows = [one.row, two.row, other.row]
    preview = admin_client.post(url, {"action": "tell", "_selected_action": [row.pk for row in rows]})
    assert "what is chosen here" in preview.content.decode()
    page = chosen(admin_client, url, "tell", rows, announcements="all", reason="they asked").content.decode()
    assert "2 changed; 1 were told just that before" in page
    assert set(Participant.objects.filter(name__in=(one.name, two.name)).values_list("announcements", flat=True)) == {
        "all"
    }
    change = Change.objects.get(subject=one.name, action="change")
    assert (change.actor, change.reason, change.after) == ("admin", "they asked", {"announcements": "all"})
    refused = chosen(admin_client, url, "tell", [one.row], announcements="everything").content.decode()
    assert "is not one of the available choices" in refused

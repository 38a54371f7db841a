"""The steps that staff take: each with a reason, guarded, in the log; a suspension that ends by itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dmr_project.lib.errors import Conflict, Forbidden, InvalidInput
from participants import claims, directory, life, registry, statuses
from participants.models import ApiKey, Change, Participant
from participants.tasks import keep_time
from tests import factories

pytestmark = pytest.mark.django_db

Status = Participant.Status
HOUR = timedelta(hours=1)


def in_status(status: str) -> factories.Registered:
    bot = factories.participant(status="Active" if status == "Revoked" else status)
    if status == "Revoked":
        life.revoke([bot.row], actor="anna", reason="it left")
    return bot


@pytest.mark.parametrize("before", [each for each in Status.values if each != "Deleted"])
@pytest.mark.parametrize("after", [each for each in Status.values if each != "Deleted"])
def test_only_what_may_follow_follows(before: str, after: str) -> None:
    bot = in_status(before)
    count = registry.set_status([bot.row], after, actor="anna", reason="a reason")
    bot.row.refresh_from_db()
    # Suspended again, with the same end, is no change.
    is_change = statuses.may_follow(before, after) and before != after
    assert (bot.row.status, count) == ((after, 1) if is_change else (before, 0))


@pytest.mark.parametrize("how", [life.suspend, life.lift, life.revoke])
@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_a_reason_is_asked_for(how: Callable[..., Any], reason: str) -> None:
    bot = factories.participant()
    with pytest.raises(InvalidInput):
        how([bot.row], actor="anna", reason=reason)
    bot.row.refresh_from_db()
    assert bot.row.status == "Active"


def test_the_log_tells_who_and_why() -> None:
    bot = factories.participant()
    until = timezone.now() + HOUR
    assert life.suspend([bot.row], actor="anna", reason="it floods", until=until) == 1
    change = Change.objects.get(action="change", subject=bot.name)
    assert (change.actor, change.reason, change.before["status"], change.after["status"]) == (
        "anna", "it floods", "Active", "Suspended",
    )  # fmt: skip
    assert change.after["suspended_until"] == str(until)


def test_a_suspension_gets_another_end_and_keeps_what_was_before() -> None:
    bot = factories.participant(status="Disabled")
    for until in (timezone.now() + HOUR, timezone.now() + 2 * HOUR, None):
        assert life.suspend([bot.row], actor="anna", reason="it floods", until=until) == 1
        bot.row.refresh_from_db()
        assert (bot.row.status, bot.row.suspended_until) == ("Suspended", until)
    assert life.lift([bot.row], actor="anna", reason="mended") == 1
    bot.row.refresh_from_db()
    assert (bot.row.status, bot.row.suspended_until, bot.row.status_reason) == ("Disabled", None, "mended")


def test_the_end_of_a_suspension_lies_ahead() -> None:
    with pytest.raises(InvalidInput):
        life.suspend([factories.participant().row], actor="anna", reason="x", until=timezone.now())


def test_a_suspension_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    bot, resting, longer = (factories.participant(status=each) for each in ("Active", "Disabled", "Active"))
    now = timezone.now()
    life.suspend([bot.row, resting.row], actor="anna", reason="it floods", until=now + HOUR)
    life.suspend([longer.row], actor="anna", reason="it floods", until=now + 2 * HOUR)
    keep_time()
    assert not bot.entry.may_send
    entries = [each.entry for each in (bot, resting, longer)]
    monkeypatch.setattr(timezone, "now", lambda: now + HOUR)
    assert [each.may_send for each in entries] == [True, False, False], "what is looked up already counts at once"
    keep_time()
    assert [each.entry.status for each in (bot, resting, longer)] == ["Active", "Disabled", "Suspended"]
    assert Change.objects.get(subject=bot.name, reason="its end had come").actor == "system"
    assert life.lift_ended() == 0


def test_a_suspended_or_pending_one_does_not_lift_itself() -> None:
    for status in ("Suspended", "Pending"):
        bot = factories.participant(status=status)
        with pytest.raises(Forbidden):
            registry.set_own_status(bot.row.pk, "Active")


def test_revoking_voids_keys_and_links_and_keeps_the_name(client: Client) -> None:
    bot = factories.participant("tax-bot", technical_email="anna@tax.example")
    claim = claims.offer(bot.row, actor="anna")
    assert life.revoke([bot.row], actor="anna", reason="it left") == 1
    assert client.get("/centops/public/participants", headers=bot.auth).status_code == 401
    claim.refresh_from_db()
    assert not claim.is_open
    with pytest.raises(Forbidden):
        claims.offer(bot.row.__class__.objects.get(pk=bot.row.pk), actor="anna")
    with pytest.raises(Forbidden):
        registry.issue_key(Participant.objects.get(pk=bot.row.pk), actor="anna")
    with pytest.raises(registry.NameTaken):
        factories.participant("tax-bot")


def test_reinstating_gives_a_new_key_and_not_the_old_ones(client: Client) -> None:
    bot = factories.participant()
    with pytest.raises(Conflict):
        life.reinstate(bot.row, actor="anna", reason="not revoked at all")
    life.revoke([bot.row], actor="anna", reason="it left")
    key = life.reinstate(bot.row, actor="anna", reason="it is back")
    assert client.get("/centops/public/participants", headers={"X-Api-Key": key}).status_code == 200
    assert client.get("/centops/public/participants", headers=bot.auth).status_code == 401
    assert directory.current().named(bot.name) is not None
    assert Change.objects.get(action="reinstate").reason == "it is back"
    assert ApiKey.objects.filter(participant=bot.row, revoked_at=None).count() == 1


def test_one_that_is_believed_by_its_network_is_not_once_it_is_revoked(client: Client) -> None:
    bot, other = factories.participant(source_networks="127.0.0.1/32"), factories.participant()

    def send() -> int:
        headers = {"X-Sent-By": bot.name, "X-Send-To": other.name, "X-Message-Id": str(other.row.public_id)}
        answer = client.post("/messages", b"x", content_type="text/plain", headers=headers)
        return answer.status_code

    assert send() == 202
    life.revoke([bot.row], actor="anna", reason="it left")
    assert send() == 401


# -- the admin --


def test_the_page_offers_what_leads_on_and_takes_the_step(admin_client: Client) -> None:
    bot = factories.participant()
    url = reverse("admin:participants_participant_life", args=[bot.row.pk])
    page = admin_client.get(url).content.decode()
    assert 'value="suspend"' in page
    assert 'value="revoke"' in page
    assert 'value="lift"' not in page
    assert "This field is required" in admin_client.post(url, {"step": "suspend", "reason": ""}).content.decode()
    past = {"step": "suspend", "reason": "it floods", "until": "2020-01-01T10:00"}
    assert "lies ahead" in admin_client.post(url, past).content.decode()
    ahead = timezone.localtime(timezone.now() + HOUR).strftime("%Y-%m-%dT%H:%M")
    answer = admin_client.post(url, {"step": "suspend", "reason": "it floods", "until": ahead}, follow=True)
    said = answer.content.decode()
    assert f"{bot.name} is suspended." in said
    assert "Suspended until" in said
    assert "it floods" in said
    bot.row.refresh_from_db()
    assert bot.row.suspended_until is not None
    assert timedelta(minutes=58) < bot.row.suspended_until - timezone.now() <= HOUR


def test_the_page_shows_the_new_key_once(admin_client: Client) -> None:
    bot = in_status("Revoked")
    url = reverse("admin:participants_participant_life", args=[bot.row.pk])
    answer = admin_client.post(url, {"step": "reinstate", "reason": "it is back"})
    key = answer.content.decode().split('id="key"')[1].split('value="')[1].split('"')[0]
    assert directory.current().credential(key) is not None
    assert "no-store" in answer["Cache-Control"]


def test_actions_ask_why(admin_client: Client) -> None:
    bot = factories.participant()
    data = {"action": "suspend", "_selected_action": [bot.row.pk], "confirmed": "yes"}
    url = reverse("admin:participants_participant_changelist")
    assert "This field is required" in admin_client.post(url, data, follow=True).content.decode()
    assert "Enter a valid date" in (
        admin_client.post(url, {**data, "reason": "it floods", "until": "tomorrow"}, follow=True).content.decode()
    )
    bot.row.refresh_from_db()
    assert bot.row.status == "Active"


def test_the_form_of_a_participant_leaves_its_status_alone(admin_client: Client) -> None:
    bot = factories.participant()
    page = admin_client.get(reverse("admin:participants_participant_change", args=[bot.row.pk])).content.decode()
    assert 'name="status"' not in page
    assert reverse("admin:participants_participant_life", args=[bot.row.pk]) in page


def test_one_on_which_something_depends_is_not_deleted_by_staff(admin_client: Client, client: Client) -> None:
    sender, bot = factories.participant(), factories.participant()
    factories.message(sender, bot.name)
    url = reverse("admin:participants_participant_delete", args=[bot.row.pk])
    assert "1 message waits for it" in admin_client.get(url).content.decode()
    admin_client.post(url, {"post": "yes"})
    assert Participant.objects.present().filter(pk=bot.row.pk).exists()
    with pytest.raises(registry.StillInUse):
        registry.remove_unused_participant(bot.row, actor="anna")


def test_the_registry_api_deletes_whatever_waits(client: Client, staff_key: str) -> None:
    sender, bot = factories.participant(), factories.participant("tax-bot")
    factories.message(sender, bot.name)
    path = f"/centops/admin/participants/{bot.row.public_id}"
    assert client.delete(path, headers={"X-Api-Key": staff_key}).status_code == 204
    assert client.delete(path, headers={"X-Api-Key": staff_key}).status_code == 404
    factories.participant("tax-bot")


def test_the_registry_api_neither_reinstates_nor_revokes(client: Client, staff_key: str) -> None:
    bot = in_status("Revoked")
    path = f"/centops/admin/participants/{bot.row.public_id}"
    shape = client.get(path, headers={"X-Api-Key": staff_key}).json()
    assert shape["status"] == "Deleted"

    def put(status: str) -> int:
        body = {**shape, "status": status}
        answer = client.put(path, body, content_type="application/json", headers={"X-Api-Key": staff_key})
        return answer.status_code

    assert [put(each) for each in ("Deleted", "Active", "Disabled", "Revoked")] == [200, 409, 409, 400]
    bot.row.refresh_from_db()
    assert bot.row.status == "Revoked"


def test_the_registry_api_lets_in_one_that_is_pending(client: Client, staff_key: str) -> None:
    bot = in_status("Pending")
    path = f"/centops/admin/participants/{bot.row.public_id}"
    shape = client.get(path, headers={"X-Api-Key": staff_key}).json()
    for status, after in (("Disabled", "Pending"), ("Active", "Active")):
        body = {**shape, "status": status}
        client.put(path, body, content_type="application/json", headers={"X-Api-Key": staff_key})
        bot.row.refresh_from_db()
        assert bot.row.status == after

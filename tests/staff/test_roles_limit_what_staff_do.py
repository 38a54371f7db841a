"""Each act of the admin is done for who has a role for it, and refused to everybody else, whatever they send."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import rfc8785
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from participants import life, registry
from participants.models import ApiKey, EndpointTerms, Institution, ListKey, Outage, Participant
from relay.models import Breaker, DeadLetterJob, Delivery, DeliveryKey, State
from staff import roles
from tests import factories
from tests.staff.people import browser, person
from tests.updates.staff import Staff, manifest, public_text, sign
from updates.models import Release, Rollout, StaffKey

pytestmark = pytest.mark.django_db


@dataclass
class Act:
    """What somebody tries, and whether it came about."""

    permission: str
    attempt: Callable[[Client], Any]
    is_done: Callable[[], bool]


def action(model: str, name: str, pk: object, **more: str) -> Callable[[Client], Any]:
    url = reverse(f"admin:{model}_changelist")
    fields = {"action": name, "_selected_action": [str(pk)], "reason": "a reason", "confirmed": "yes", **more}
    return lambda client: client.post(url, fields)


def button(model: str, name: str, pk: object) -> Callable[[Client], Any]:
    return lambda client: client.post(reverse(f"admin:{model}_do", args=[pk, name]))


def form(model: str, **fields: Any) -> Callable[[Client], Any]:
    return lambda client: client.post(reverse(f"admin:{model}_add"), fields)


def suspend() -> Act:
    bot = factories.participant().row

    def is_done() -> bool:
        bot.refresh_from_db()
        return bot.status == Participant.Status.SUSPENDED

    return Act("participants.suspend_participant", action("participants_participant", "suspend", bot.pk), is_done)


def activate() -> Act:
    bot = factories.participant().row
    registry.set_status([bot], Participant.Status.SUSPENDED, actor="tests")

    def is_done() -> bool:
        bot.refresh_from_db()
        return bot.status == Participant.Status.ACTIVE

    return Act("participants.suspend_participant", action("participants_participant", "activate", bot.pk), is_done)


def revoke() -> Act:
    bot = factories.participant().row

    def is_done() -> bool:
        bot.refresh_from_db()
        return bot.status == Participant.Status.REVOKED

    return Act("participants.revoke_participant", action("participants_participant", "revoke", bot.pk), is_done)


def reinstate() -> Act:
    bot = factories.participant().row
    life.revoke([bot], actor="tests", reason="a reason")

    def is_done() -> bool:
        bot.refresh_from_db()
        return bot.status == Participant.Status.ACTIVE

    return Act("participants.revoke_participant", action("participants_participant", "reinstate", bot.pk), is_done)


def step_of_life(name: str) -> Act:
    bot = factories.participant().row
    url = reverse("admin:participants_participant_life", args=[bot.pk])

    def is_done() -> bool:
        bot.refresh_from_db()
        return bot.status != Participant.Status.ACTIVE

    permission = {"suspend": "participants.suspend_participant", "revoke": "participants.revoke_participant"}[name]
    return Act(permission, lambda client: client.post(url, {"step": name, "reason": "a reason"}), is_done)


def announce_outage() -> Act:
    bot = factories.participant().row
    fields = {"kind": "unplanned", "participants": [bot.pk], "text_en": "away"}
    return Act(
        "participants.add_outage",
        form("participants_outage", **fields),
        lambda: Outage.objects.filter(participants=bot).exists(),
    )


def end_outage(how: Callable[..., Callable[[Client], Any]], name: str) -> Act:
    row = factories.outage(factories.participant())
    return Act(
        "participants.end_outage",
        how("participants_outage", name, row.pk),
        lambda: Outage.objects.get(pk=row.pk).ended_at is not None,
    )


def choose_what_they_are_told() -> Act:
    bot = factories.participant().row
    return Act(
        "participants.change_participant",
        action("participants_participant", "tell", bot.pk, announcements="all"),
        lambda: Participant.objects.get(pk=bot.pk).announcements == "all",
    )


def take_for_ruuter() -> Act:
    bot = factories.participant().row

    def is_done() -> bool:
        bot.refresh_from_db()
        return "300" in bot.success_statuses

    act = action("participants_participant", "take_for_ruuter", bot.pk)
    return Act("participants.change_participant", act, is_done)


def issue_key() -> Act:
    bot = factories.participant().row
    url = reverse("admin:participants_participant_issue_key", args=[bot.pk])
    return Act(
        "participants.add_apikey",
        lambda client: client.post(url, {"note": "one more"}),
        lambda: bot.keys.count() == 2,
    )


def set_endpoint_terms() -> Act:
    bot = factories.participant().row
    url = reverse("admin:participants_endpointterms_of", args=[bot.pk])
    return Act(
        "participants.change_endpointterms",
        lambda client: client.post(url, {"allowed_networks": "10.1.0.0/16"}),
        lambda: EndpointTerms.objects.filter(participant=bot).exists(),
    )


def revoke_key() -> Act:
    key = factories.participant().row.keys.get()
    return Act(
        "participants.revoke_apikey",
        action("participants_apikey", "revoke", key.pk),
        lambda: ApiKey.objects.get(pk=key.pk).revoked_at is not None,
    )


def add_institution() -> Act:
    return Act(
        "participants.add_institution",
        form("participants_institution", name="Tax board", status="Active"),
        lambda: Institution.objects.filter(name="Tax board").exists(),
    )


def change_institution() -> Act:
    row = factories.institution()
    url = reverse("admin:participants_institution_change", args=[row.pk])
    return Act(
        "participants.change_institution",
        lambda client: client.post(url, {"name": "Renamed", "status": "Active"}),
        lambda: Institution.objects.get(pk=row.pk).name == "Renamed",
    )


def delete_institutions() -> Act:
    row = factories.institution()
    url = reverse("admin:participants_institution_changelist")
    fields = {"action": "delete_selected", "_selected_action": [str(row.pk)], "confirmed": "yes"}
    return Act(
        "participants.delete_institution",
        lambda client: client.post(url, fields),
        lambda: not Institution.objects.present().filter(pk=row.pk).exists(),
    )


def dead_letter() -> Delivery:
    return factories.delivery(factories.participant(), factories.participant(), state=State.DEAD)


def requeue() -> Act:
    row = dead_letter()
    return Act(
        "relay.requeue_delivery",
        action("relay_delivery", "requeue", row.pk),
        lambda: Delivery.objects.get(pk=row.pk).state == State.PENDING,
    )


def discard() -> Act:
    row = dead_letter()
    return Act(
        "relay.discard_delivery",
        action("relay_delivery", "discard", row.pk),
        lambda: Delivery.objects.get(pk=row.pk).discarded_at is not None,
    )


def requeue_many() -> Act:
    row = dead_letter()
    fields = {"action": "requeue", "recipient_name": row.recipient_name, "confirmed": "yes"}
    return Act("relay.add_deadletterjob", form("relay_deadletterjob", **fields), DeadLetterJob.objects.exists)


def stop_requeueing() -> Act:
    now = timezone.now()
    job = DeadLetterJob.objects.create(until=now, requested_at=now, requested_by="tests", estimate=1)
    url = reverse("admin:relay_deadletterjob_stop", args=[job.pk])
    return Act(
        "relay.add_deadletterjob",
        lambda client: client.post(url),
        lambda: DeadLetterJob.objects.get(pk=job.pk).state == DeadLetterJob.State.STOPPED,
    )


def close_breaker() -> Act:
    row = Breaker.objects.create(recipient=factories.participant().row, state=Breaker.State.PARKED)
    return Act(
        "relay.close_breaker",
        action("relay_breaker", "close", row.pk),
        lambda: Breaker.objects.get(pk=row.pk).state == Breaker.State.CLOSED,
    )


def rotate_delivery_key() -> Act:
    url = reverse("admin:relay_deliverykey_rotate")
    return Act("relay.rotate_deliverykey", lambda client: client.post(url), lambda: DeliveryKey.objects.count() == 2)


def rotate_list_key() -> Act:
    url = reverse("admin:participants_listkey_rotate")
    return Act("participants.rotate_listkey", lambda client: client.post(url), lambda: ListKey.objects.count() == 2)


def import_release() -> Act:
    staff = Staff()
    content = rfc8785.dumps(manifest())
    signed = "\n".join(json.dumps(sign(content, key)) for key in staff.keys.values())
    return Act(
        "updates.add_release",
        form("updates_release", manifest_text=content.decode(), signed=signed),
        lambda: Release.objects.exists(),
    )


def approve(how: Callable[..., Callable[[Client], Any]]) -> Act:
    row = Staff().draft()
    return Act(
        "updates.approve_release",
        how("updates_release", "approve", row.pk),
        lambda: Release.objects.get(pk=row.pk).state == "approved",
    )


def publish(how: Callable[..., Callable[[Client], Any]]) -> Act:
    row = Staff().approved()
    return Act(
        "updates.publish_release",
        how("updates_release", "publish", row.pk),
        lambda: Release.objects.get(pk=row.pk).state == "published",
    )


def withdraw_release() -> Act:
    row = Staff().published()
    return Act(
        "updates.withdraw_release",
        button("updates_release", "withdraw", row.pk),
        lambda: Release.objects.get(pk=row.pk).state == "withdrawn",
    )


def start_rollout() -> Act:
    row = Staff().published()
    factories.participant()
    fields = {
        "release": row.pk, "waves": "100", "gate": "1.0", "soak_seconds": "0", "max_failures": "0",
        "participant_type": "Chatbot",
    }  # fmt: skip
    return Act("updates.add_rollout", form("updates_rollout", **fields), lambda: Rollout.objects.exists())


def steer(name: str, state: str) -> Act:
    row = Staff().rollout(1)
    if name == "resume":
        Rollout.objects.filter(pk=row.pk).update(state="paused")
    return Act(
        "updates.steer_rollout",
        button("updates_rollout", name, row.pk),
        lambda: Rollout.objects.get(pk=row.pk).state == state,
    )


def register_key() -> Act:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    signer = person(roles.VIEWER)
    text = public_text(Ed25519PrivateKey.generate())
    return Act(
        "updates.add_staffkey",
        form("updates_staffkey", person=signer.pk, public_key=text),
        lambda: StaffKey.objects.filter(person=signer).exists(),
    )


def withdraw_key(how: Callable[..., Callable[[Client], Any]]) -> Act:
    row = Staff().rows["anna"]
    return Act(
        "updates.withdraw_staffkey",
        how("updates_staffkey", "withdraw", row.pk),
        lambda: StaffKey.objects.get(pk=row.pk).withdrawn_at is not None,
    )


def add_account() -> Act:
    return Act(
        "auth.add_user",
        form("auth_user", username="newcomer", roles=["viewer"]),
        lambda: User.objects.filter(username="newcomer").exists(),
    )


def change_account() -> Act:
    row = person(roles.VIEWER)
    url = reverse("admin:auth_user_change", args=[row.pk])
    return Act(
        "auth.change_user",
        lambda client: client.post(url, {"email": "a@core.test", "is_active": "on", "roles": ["approver"]}),
        lambda: row.groups.filter(name="approver").exists(),
    )


def reset_password() -> Act:
    row = person(roles.VIEWER)
    before = row.password
    return Act(
        "auth.change_user",
        button("auth_user", "reset-password", row.pk),
        lambda: User.objects.get(pk=row.pk).password != before,
    )


def end_sessions(how: Callable[..., Callable[[Client], Any]], name: str) -> Act:
    row = person(roles.VIEWER)
    theirs = browser(row)

    def is_over() -> bool:
        return theirs.get(reverse("admin:index")).status_code == 302

    return Act("auth.change_user", how("auth_user", name, row.pk), is_over)


ACTS: dict[str, Callable[[], Act]] = {
    "suspend": suspend,
    "activate": activate,
    "revoke": revoke,
    "reinstate": reinstate,
    "suspend on its page": lambda: step_of_life("suspend"),
    "revoke on its page": lambda: step_of_life("revoke"),
    "announce an outage": announce_outage,
    "end an outage by button": lambda: end_outage(button, "end"),
    "end outages in the list": lambda: end_outage(action, "end_all"),
    "take for Ruuter": take_for_ruuter,
    "choose what they are told": choose_what_they_are_told,
    "issue a key": issue_key,
    "set endpoint terms": set_endpoint_terms,
    "revoke a key": revoke_key,
    "add an institution": add_institution,
    "change an institution": change_institution,
    "delete institutions": delete_institutions,
    "requeue": requeue,
    "discard": discard,
    "requeue many": requeue_many,
    "stop requeueing": stop_requeueing,
    "close a breaker": close_breaker,
    "rotate the delivery key": rotate_delivery_key,
    "rotate the list key": rotate_list_key,
    "import a release": import_release,
    "approve by button": lambda: approve(button),
    "approve in the list": lambda: approve(action),
    "publish by button": lambda: publish(button),
    "publish in the list": lambda: publish(action),
    "withdraw a release": withdraw_release,
    "start a rollout": start_rollout,
    "pause": lambda: steer("pause", "paused"),
    "resume": lambda: steer("resume", "running"),
    "abort": lambda: steer("abort", "aborted"),
    "register a signing key": register_key,
    "withdraw a signing key by button": lambda: withdraw_key(button),
    "withdraw a signing key in the list": lambda: withdraw_key(action),
    "add an account": add_account,
    "change an account": change_account,
    "reset a password": reset_password,
    "log out everywhere by button": lambda: end_sessions(button, "end-sessions"),
    "log out everywhere in the list": lambda: end_sessions(action, "end_sessions"),
}


@pytest.mark.parametrize("name", ACTS)
def test_an_act_is_for_who_has_a_role_for_it(name: str) -> None:
    act = ACTS[name]()
    allowed = {role for role in roles.ROLES if act.permission in roles.permissions_of(role)}
    assert allowed, f"nobody may {name}"
    for role in roles.ROLES.keys() - allowed:
        answer = act.attempt(browser(person(role)))
        assert not act.is_done(), f"{role} may not {name}"
        assert answer.status_code in (200, 302, 403), (role, answer.status_code)
    assert not act.attempt(browser(person())).status_code >= 500
    assert not act.is_done(), f"without a role nobody may {name}"
    act.attempt(browser(person(sorted(allowed)[0])))
    assert act.is_done(), f"{sorted(allowed)[0]} may {name}"


@pytest.mark.parametrize("role", roles.ROLES)
def test_each_role_sees_what_the_table_says(role: str) -> None:
    from django.contrib import admin

    client = browser(person(role))
    shown = roles.permissions_of(role)
    for model in admin.site._registry:
        label, name = model._meta.app_label, model._meta.model_name
        answer = client.get(reverse(f"admin:{label}_{name}_changelist"))
        expected = 200 if f"{label}.view_{name}" in shown else 403
        assert answer.status_code == expected, f"{role}: {label}.{name}"


def test_without_a_role_nothing_is_shown() -> None:
    page = browser(person()).get(reverse("admin:index")).content.decode()
    assert "permission to view or edit anything" in page


def test_pages_do_not_offer_what_is_not_allowed() -> None:
    """A viewer's page of a release or a participant has no buttons; the one who may has them."""
    release = Staff().draft()
    bot = factories.participant().row
    page = reverse("admin:updates_release_change", args=[release.pk])
    assert b"/do/approve/" not in browser(person(roles.VIEWER)).get(page).content
    operator = browser(person(roles.OPERATOR)).get(page).content
    assert b"/do/withdraw/" in operator
    assert b"/do/approve/" not in operator
    assert b"/do/approve/" in browser(person(roles.APPROVER)).get(page).content
    page = reverse("admin:participants_participant_change", args=[bot.pk])
    assert b"issue-key" not in browser(person(roles.OPERATOR)).get(page).content
    assert b"issue-key" in browser(person(roles.REGISTRAR)).get(page).content

"""What is announced by itself, to whom, and who chooses that."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from participants import announcements, applications, claims, registry, tasks
from participants.models import Announcement, Application, Change, Claim, Participant
from tests import factories
from tests.factories import Registered
from tests.staff import people
from tests.updates.staff import Staff

pytestmark = pytest.mark.django_db

URL = "/api/v1/my/announcements"
Kind = Announcement.Kind


def ask_for(client: Client, who: Registered, said: object) -> Any:
    return client.post(URL, said, content_type="application/json", headers=who.auth)


def announced(kind: str) -> list[Announcement]:
    return list(Announcement.objects.filter(kind=kind).order_by("id"))


def test_a_new_participant_is_told_that_it_is_in() -> None:
    bot = factories.participant()
    (row,) = announced(Kind.REGISTRATION)
    assert row.recipients == [bot.row.pk]
    body = dict(row.body)
    assert body.pop("announcedAt").endswith("Z")
    assert body == {
        "about": str(bot.row.public_id),
        "participant": {
            "id": str(bot.row.public_id),
            "name": bot.name,
            "type": "Chatbot",
            "institutionId": str(bot.row.institution.public_id),
        },
        "rooms": ["national"],
    }


def test_who_joins_by_application_is_told_once_its_side_has_the_key() -> None:
    application = applications.apply(
        Application(
            institution_name="Amet", name="amet-bot", host="http://amet.invalid/messages",
            contact_name="A", contact_email="a@amet.test",
        )
    )  # fmt: skip
    participant = applications.approve(application, people.person("approver"))
    assert announced(Kind.REGISTRATION) == [], "nobody would be there to hear it"
    claims.claim(Claim.objects.get())
    assert [row.recipients for row in announced(Kind.REGISTRATION)] == [[participant.pk]]
    claims.claim(claims.offer(participant, actor="tests"))
    assert len(announced(Kind.REGISTRATION)) == 1, "a later key is no registration"


def test_a_release_is_announced_by_its_severity_to_all_and_its_rollout_to_its_targets(staff: Staff) -> None:
    classifier = factories.participant(type="Classifier")
    rollout = staff.rollout()
    published, started = announced(Kind.SOFTWARE_UPDATE)
    said = {"about": "1.1.0", "version": "1.1.0", "severity": "mandatory", "notes": {"et": "Uuendus", "en": "Update"}}
    assert published.recipients is None
    assert published.body == {**said, "event": "published", "announcedAt": published.body["announcedAt"]}
    targets = sorted(rollout.targets.values_list("participant_id", flat=True))
    assert started.recipients == targets
    assert classifier.row.pk not in targets
    assert started.body["event"] == "rollout-started"
    assert started.body["rollout"] == str(rollout.public_id)
    assert started.body["severity"] == "mandatory"


def test_a_participant_chooses_what_it_is_told(client: Client) -> None:
    bot, other = factories.participant(), factories.participant()
    for wanted in ("all", "none", "important"):
        answer = ask_for(client, bot, {"announcements": wanted})
        assert (answer.status_code, answer.json()) == (200, {"announcements": wanted})
        assert client.get(URL, headers=bot.auth).json() == {"announcements": wanted}
        change = Change.objects.first()
        assert change is not None
        assert (change.actor, change.subject, change.after) == (bot.name, bot.name, {"announcements": wanted})
    assert client.get(URL, headers=other.auth).json() == {"announcements": "important"}


@pytest.mark.parametrize("said", [{}, {"announcements": "some"}, {"announcements": 1}, {"announcements": None}])
def test_anything_else_is_refused_by_name(client: Client, said: dict[str, object]) -> None:
    answer = ask_for(client, factories.participant(), said)
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["errors"]] == ["announcements"]


def test_a_suspended_one_changes_nothing(client: Client) -> None:
    bot = factories.participant()
    registry.set_status([bot.row], Participant.Status.SUSPENDED, actor="tests")
    assert ask_for(client, bot, {"announcements": "all"}).status_code == 403


@pytest.mark.parametrize(("said", "wanted"), [({}, "none"), ({"announcements": "important"}, "important")])
def test_who_comes_by_the_first_contract_is_told_what_it_asks_for(
    client: Client, staff_key: str, said: dict[str, str], wanted: str
) -> None:
    institution = str(factories.institution().public_id)
    body = {"name": "poc-bot", "institutionId": institution, "host": "http://poc.invalid/messages", "type": "Chatbot"}
    headers = {"X-Api-Key": staff_key}
    url = "/centops/admin/participants"
    answer = client.post(url, {**body, **said}, content_type="application/json", headers=headers)
    assert answer.status_code == 201
    row = Participant.objects.get(name="poc-bot")
    assert row.announcements == wanted
    answer = client.put(answer["Location"], body, content_type="application/json", headers=headers)
    assert answer.status_code == 200
    row.refresh_from_db()
    assert row.announcements == wanted, "left as it was by who does not know of it"


def test_staff_see_what_was_announced(admin_client: Client) -> None:
    factories.participant()
    (row,) = announced(Kind.REGISTRATION)
    page = admin_client.get(reverse("admin:participants_announcement_changelist"))
    assert "On its way" in page.content.decode()
    page = admin_client.get(reverse("admin:participants_announcement_change", args=[row.pk]))
    assert "&quot;announcedAt&quot;" in page.content.decode()


def test_what_was_sent_long_ago_is_forgotten() -> None:
    factories.participant()
    factories.participant()
    sent = announced(Kind.REGISTRATION)[0]
    Announcement.objects.filter(pk=sent.pk).update(sent_at=timezone.now())
    with time_machine.travel(timezone.now() + announcements.KEPT + timedelta(hours=1)):
        tasks.forget_announcements()
    assert sent not in announced(Kind.REGISTRATION)
    assert len(announced(Kind.REGISTRATION)) == 1


@pytest.fixture
def staff(admin_user: User) -> Staff:
    return Staff()

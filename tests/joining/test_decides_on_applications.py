"""Staff decide on applications: who may, what comes of it, and that the applicant is told each time."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.urls import reverse
from django.utils import timezone

from dmr_project.lib.errors import DomainError, InvalidInput
from participants import applications, registry
from participants.applications import OwnApplication, WrongState
from participants.models import Application, Change, Claim, Institution, Participant
from tests import factories
from tests.joining.conftest import FORM, Outbox, to
from tests.staff.people import browser, person

pytestmark = pytest.mark.django_db


def page(row: Application) -> str:
    return reverse("admin:participants_application_change", args=[row.pk])


def press(user: User, row: Application, name: str, **data: str) -> Any:
    return browser(user).post(reverse("admin:participants_application_do", args=[row.pk, name]), data, follow=True)


def test_approval_makes_all_of_it(application: Application, registrar: User, approver: User, letters: Outbox) -> None:
    press(registrar, application, "review")
    application.refresh_from_db()
    assert (application.state, application.reviewed_by) == ("in review", registrar)
    assert [each.subject for each in letters()][-1] == "Your application is in review: bot-amet"
    answer = press(approver, application, "approve")
    assert "is approved; the link to its key goes to tonu@amet.test" in answer.content.decode()
    application.refresh_from_db()
    assert (application.state, application.decided_by) == ("approved", approver)
    row = Participant.objects.get(name="bot-amet")
    assert application.participant == row
    assert (row.institution.name, row.host, row.status) == ("Põllumajandusamet", FORM["host"], "Active")
    assert (row.contact_email, row.technical_email) == ("mari@amet.test", "tonu@amet.test")
    assert [each.room.name for each in row.memberships.all()] == ["national"]
    assert not row.keys.exists(), "nobody has a key before it is fetched"
    sent = letters()
    assert to(sent, "mari@amet.test").subject == "Your application was approved: bot-amet"
    assert to(sent, "tonu@amet.test").subject == "Fetch the key of bot-amet"
    done = Change.objects.filter(actor="aare").exclude(kind="user").order_by("number").values_list("action", "kind")
    assert list(done) == [
        ("add", "institution"),
        ("register", "participant"),
        ("approve", "application"),
        ("offer key", "participant"),
    ]


def test_an_institution_that_is_there_is_taken(application: Application, approver: User) -> None:
    there = factories.institution("Põllumajandusamet")
    assert applications.approve(application, approver).institution == there


def test_rejection_says_why(application: Application, approver: User, letters: Outbox) -> None:
    letters()
    assert "Write why" in press(approver, application, "reject").content.decode()
    application.refresh_from_db()
    assert application.state == "received"
    press(approver, application, "reject", reason="The endpoint is not yours.")
    application.refresh_from_db()
    assert (application.state, application.reason) == ("rejected", "The endpoint is not yours.")
    assert "The endpoint is not yours." in to(letters(), "mari@amet.test").body
    assert not Participant.objects.filter(name="bot-amet").exists()
    assert Change.objects.get(action="reject").reason == "The endpoint is not yours."


def test_nobody_decides_on_what_they_entered(letters: Outbox) -> None:
    both = person("registrar", "approver", name="mihkel")
    answer = browser(both).post(
        reverse("admin:participants_application_add"), {**FORM, "language": "et"}, follow=True
    )
    assert "is entered; somebody else decides" in answer.content.decode()
    row = Application.objects.get()
    assert row.entered_by == both
    assert to(letters(), "mari@amet.test").subject.startswith("Teie taotlus")
    for name in ("approve", "reject"):
        answer = press(both, row, name, reason="because")
        assert "was entered by mihkel" in answer.content.decode()
    row.refresh_from_db()
    assert row.state == "received"


@pytest.mark.parametrize("field", ["contact_email", "technical_email"])
def test_nobody_decides_on_their_own(field: str, approver: User) -> None:
    row = applications.apply(Application(**{**FORM, field: "Aare@core.test"}))
    with pytest.raises(OwnApplication):
        applications.approve(row, approver)
    with pytest.raises(OwnApplication):
        applications.reject(row, approver, "because")


def test_the_database_says_so_too(application: Application, approver: User) -> None:
    Application.objects.update(entered_by=approver)
    for columns in (
        {"state": "rejected", "reason": "no", "decided_by": approver, "decided_at": timezone.now()},
        {"state": "rejected", "reason": "no", "decided_at": timezone.now()},
        {"state": "approved", "decided_by": None, "decided_at": timezone.now()},
        {"state": "rejected"},
        {"state": "lost"},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            Application.objects.update(**columns)


def test_what_has_ended_stays_so(application: Application, approver: User) -> None:
    applications.reject(application, approver, "no")
    for act in (
        lambda: applications.begin_review(application, approver),
        lambda: applications.approve(application, approver),
        lambda: applications.reject(application, approver, "no"),
        lambda: applications.withdraw(application),
    ):
        with pytest.raises(WrongState):
            act()


def test_a_name_taken_meanwhile_is_not_approved(application: Application, approver: User) -> None:
    factories.participant("bot-amet")
    with pytest.raises(registry.NameTaken):
        applications.approve(application, approver)
    application.refresh_from_db()
    assert application.state == "received"
    assert not Institution.objects.filter(name="Põllumajandusamet").exists(), "nothing is left of it"
    assert not Claim.objects.exists()


def test_a_reason_has_its_length(application: Application, approver: User) -> None:
    for reason in ("", "  ", "x" * 501):
        with pytest.raises(InvalidInput):
            applications.reject(application, approver, reason)


@pytest.mark.parametrize("role", ["viewer", "operator", "registrar", "auditor"])
def test_only_approvers_decide(role: str, application: Application) -> None:
    assert press(person(role), application, "approve").status_code == 403
    application.refresh_from_db()
    assert application.state == "received"


def test_the_list_says_how_each_stands(application: Application, approver: User) -> None:
    applications.apply(Application(**{**FORM, "name": "bot-two", "host": "https://two.test/"}))
    applications.reject(application, approver, "no")
    client = browser(approver)
    url = reverse("admin:participants_application_changelist")
    everything = client.get(url).content.decode()
    assert "Rejected" in everything
    assert "bot-two" in everything
    assert "bot-two" not in client.get(f"{url}?state__exact=rejected").content.decode()
    shown = client.get(page(application)).content.decode()
    for said in ("ruuter-public, resql", "mari@amet.test", "the public form"):
        assert said in shown
    assert "Approve</button>" not in shown
    still_open = client.get(page(Application.objects.get(name="bot-two"))).content.decode()
    assert "Approve</button>" in still_open
    assert still_open.count('name="reason"') == 1, "only a rejection asks why"


@pytest.mark.django_db(transaction=True)
def test_one_of_two_at_once_decides(approver: User) -> None:
    row = applications.apply(Application(**FORM))
    other = person("approver")
    came: list[str] = []
    gate = threading.Barrier(2)

    def decide(user: User) -> None:
        try:
            gate.wait()
            applications.approve(row, user)
            came.append("approved")
        except DomainError as error:
            came.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=decide, args=[each]) for each in (approver, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(came) == ["approved", "wrong-application-state"]
    assert Participant.objects.filter(name="bot-amet").count() == 1
    assert Claim.objects.count() == 1

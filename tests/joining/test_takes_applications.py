"""The public form: what it takes, what it refuses and why, and what the applicant sees of it later."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from participants import applications
from participants.join import attempts
from participants.models import Application, Change, Mail
from tests import factories
from tests.joining.conftest import FORM, Outbox, browser, link_in, send, to

pytestmark = pytest.mark.django_db


def test_somebody_applies_and_is_told(letters: Outbox) -> None:
    answer = send(browser(), "/join/?lang=et", FORM)
    assert answer.status_code == 200
    assert "Teie taotlus on vastu võetud" in answer.content.decode()
    row = Application.objects.get()
    assert (row.state, row.institution_name, row.name, row.host) == (
        "received",
        FORM["institution_name"],
        FORM["name"],
        FORM["host"],
    )
    assert row.components == ["ruuter-public", "resql"]
    assert row.entered_by is None
    told = to(letters(), "mari@amet.test")
    assert told.subject == "Teie taotlus on vastu võetud: bot-amet"
    assert told.body.startswith("Tere!\n\n")
    page = browser().get(link_in(told.body)).content.decode()
    assert '<html lang="et">' in page
    assert "vastu võetud" in page
    (entry,) = Change.objects.filter(kind="application")
    assert (entry.action, entry.actor, entry.actor_kind) == ("apply", "applicant", "unknown")
    assert "mari@amet.test" not in str(entry.after), "the log is kept for long"


def test_who_is_alone_leaves_the_technical_contact_empty() -> None:
    send(browser(), "/join/", {**FORM, "technical_name": "", "technical_email": ""})
    row = Application.objects.get()
    assert (row.technical_name, row.technical_email) == ("Mari Maasikas", "mari@amet.test")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("institution_name", "", "This field is required."),
        ("institution_name", "Ai", "Must have 4 to 50 characters, not 2"),
        ("contact_email", "mari", "Enter a valid email address."),
        ("name", "böt-amet", "Must be printable ASCII"),
        ("name", "Classifier", "Classifier is reserved"),
        ("host", "bot.amet.test/messages", "Must be a full http or https URL"),
        ("host", "https://me:secret@bot.amet.test/", "Must not hold a user name or password"),
        ("type", "Dmr", "Select a valid choice"),
        ("components", ["mainframe"], "Select a valid choice"),
        ("remarks", "x" * 1001, "at most 1000 characters"),
    ],
)
def test_a_bad_one_is_refused_with_the_reason(field: str, value: Any, said: str) -> None:
    answer = send(browser(), "/join/?lang=en", {**FORM, field: value})
    assert answer.status_code == 400
    page = answer.content.decode()
    beside = re.search(rf'<p class="error" id="id_{field}_error">([^<]*)</p>', page)
    assert beside is not None, page
    assert said in beside[1]
    summary = page[page.index('class="summary"') : page.index("<form")]
    assert re.search(rf'href="#id_{field}(_0)?"', summary), "and in the summary, with a link to the field"
    assert not Application.objects.exists()
    assert not Mail.objects.exists()


def test_refusals_are_translated() -> None:
    page = send(browser(), "/join/?lang=et", {**FORM, "name": "bot", "host": "x"}).content.decode()
    assert "Peab olema 4 kuni 50 märki pikk, mitte 3" in page
    assert "must have" not in page.lower()


@pytest.mark.parametrize("field", ["name", "host"])
@pytest.mark.parametrize("there", ["application", "participant"])
def test_a_double_one_is_refused_with_the_reason(field: str, there: str) -> None:
    other = {**FORM, "name": "bot-other", "host": "https://other.test/messages", field: FORM[field]}
    if there == "application":
        applications.apply(Application(**other))
    else:
        factories.participant(str(other["name"]), host=other["host"])
    answer = send(browser(), "/join/?lang=en", FORM)
    assert answer.status_code == 409
    said = {
        ("name", "application"): "Is in an application that is not decided yet",
        ("host", "application"): "Is in an application that is not decided yet",
        ("name", "participant"): "Is the name of a participant; choose another",
        ("host", "participant"): "Is the endpoint of a participant",
    }[field, there]
    assert f'id="id_{field}_error">{said}<' in answer.content.decode()
    assert Application.objects.filter(**{field: FORM[field]}).count() == (there == "application")


def test_after_a_rejection_one_may_apply_again(application: Application) -> None:
    applications.withdraw(application)
    assert send(browser(), "/join/", FORM).status_code == 200


def test_nobody_floods_somebody_elses_mailbox() -> None:
    for number in range(applications.MOST_OPEN_OF_ONE):
        applications.apply(Application(**{**FORM, "name": f"bot-{number}", "host": f"https://{number}.test/"}))
    answer = send(browser(), "/join/?lang=en", {**FORM, "contact_email": "MARI@amet.test"})
    assert answer.status_code == 429
    assert "Too many applications wait" in answer.content.decode()


def test_an_address_may_not_send_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MOST", 3)
    client = Client()
    for _ in range(3):
        assert client.post("/join/", {}).status_code == 400
    answer = client.post("/join/?lang=en", FORM)
    assert answer.status_code == 429
    assert 3500 < int(answer["Retry-After"]) <= 3601
    assert "Try again in an hour" in answer.content.decode()
    assert client.get("/join/").status_code == 200, "reading goes on"
    assert client.post("/join/", FORM, REMOTE_ADDR="192.0.2.7").status_code == 200, "and so do others"


def test_attempts_are_forgotten_in_time() -> None:
    now = [0.0]
    made = attempts.Attempts(lambda: now[0])
    for _ in range(attempts.MOST):
        assert made.count("192.0.2.1") == 0.0
    now[0] = attempts.SECONDS - 60
    assert made.count("192.0.2.1") == 60.0
    now[0] = attempts.SECONDS
    assert made.count("192.0.2.1") == 0.0


def test_a_form_needs_its_token() -> None:
    assert browser().post("/join/", FORM).status_code == 403
    assert not Application.objects.exists()


def test_the_applicant_withdraws(letters: Outbox) -> None:
    send(browser(), "/join/?lang=en", FORM)
    link = link_in(to(letters(), "mari@amet.test").body)
    for _ in range(2):
        assert browser().get(link).status_code == 200, "looking changes nothing"
    assert Application.objects.get().state == "received"
    client = browser()
    answer = send(client, link, {})
    assert answer.status_code == 302
    assert "withdrawn" in client.get(answer["Location"]).content.decode()
    assert Application.objects.get().state == "withdrawn"
    assert to(letters(), "mari@amet.test").subject == "Your application was withdrawn: bot-amet"
    assert Client().post(link).status_code == 409


@pytest.mark.parametrize(
    ("query", "accepted", "language"),
    [
        ("", "et", "et"),
        ("", "en-GB,et;q=0.5", "en"),
        ("", "fr", "en"),
        ("?lang=et", "en", "et"),
        ("?lang=x", "et", "et"),
    ],
)
def test_the_page_speaks_the_visitors_language(query: str, accepted: str, language: str) -> None:
    answer = browser().get(f"/join/{query}", headers={"Accept-Language": accepted})
    page = answer.content.decode()
    assert f'<html lang="{language}">' in page
    assert ("Võrguga liitumine" in page) is (language == "et")
    assert "no-store" in answer["Cache-Control"]


def test_every_field_has_its_label() -> None:
    page = browser().get("/join/").content.decode()
    inputs = re.findall(r"<(?:input|textarea|select)[^>]*\bid=\"([^\"]+)\"", page)
    assert len(inputs) > 20
    for each in inputs:
        assert f'for="{each}"' in page, each
    assert page.count("<fieldset") == page.count("<legend") == 2

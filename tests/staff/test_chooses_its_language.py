"""The admin speaks the language that somebody chose, else what the browser asks for; machines are told in English."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import translation

from staff import roles
from staff.models import Account
from tests.staff.people import browser, person

pytestmark = pytest.mark.django_db
INDEX, LANGUAGE = reverse("admin:index"), reverse("admin:language")


def spoken(client: Client, **headers: str) -> str:
    answer = client.get(INDEX, headers=headers)
    page: str = answer.content.decode()
    return page.split('<html lang="')[1][:2]


def test_english_unless_somebody_asks_for_another() -> None:
    client = browser(person(roles.VIEWER))
    assert spoken(client) == "en"
    assert spoken(client, accept_language="et-EE,et;q=0.9,en;q=0.5") == "et"
    assert spoken(client, accept_language="fi") == "en"


def test_what_is_chosen_stays_and_leads_back() -> None:
    client = browser(person(roles.VIEWER))
    answer = client.post(LANGUAGE, {"language": "et", "next": INDEX})
    assert (answer.status_code, answer["Location"]) == (302, INDEX)
    assert answer.cookies["django_language"]["httponly"]
    assert spoken(client, accept_language="en") == "et"
    client.post(LANGUAGE, {"language": "en", "next": INDEX})
    assert spoken(client, accept_language="et") == "en"


def test_mails_are_in_it_too() -> None:
    user = person(roles.VIEWER)
    client = browser(user)
    client.get(LANGUAGE)
    client.post(LANGUAGE, {"language": "fi"})
    assert not Account.objects.filter(user=user).exists()
    for language in ("et", "en"):
        client.post(LANGUAGE, {"language": language})
        assert Account.objects.get(user=user).language == language


def test_it_leads_nowhere_else() -> None:
    answer = browser(person(roles.VIEWER)).post(LANGUAGE, {"language": "et", "next": "https://elsewhere.example/"})
    assert "elsewhere" not in answer["Location"]


def test_it_ends_with_the_request() -> None:
    client = browser(person(roles.VIEWER))
    assert spoken(client, accept_language="et") == "et"
    assert translation.get_language() == "en"
    problem = client.get("/api/v1/nothing", headers={"accept-language": "et"}).json()
    assert problem["title"] == "Not found"

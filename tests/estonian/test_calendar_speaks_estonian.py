"""The calendar of outages speaks the language of the page where its address was made."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse

from staff import roles
from tests import factories
from tests.staff.people import browser, person

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("language", "said"),
    [("et", "SUMMARY:Plaaniline katkestus: xq-bot"), ("en", "SUMMARY:Planned outage: xq-bot")],
)
def test_in_the_language_of_the_page(client: Client, language: str, said: str) -> None:
    factories.outage(factories.participant("xq-bot"), begins_in=60)
    staff = browser(person(roles.OPERATOR))
    page = staff.post(reverse("admin:participants_outage_calendar"), headers={"accept-language": language})
    found = re.search(r'value="https?://[^/"]+(/[^"]+\.ics\?lang=\w\w)"', page.content.decode())
    assert found is not None
    assert said in client.get(found[1]).content.decode()


def test_english_where_nobody_says_another(client: Client) -> None:
    factories.outage(factories.participant("xq-bot"), begins_in=60)
    page = browser(person(roles.OPERATOR)).post(reverse("admin:participants_outage_calendar"))
    path = re.search(r'value="https?://[^/"]+(/[^"]+\.ics)\?', page.content.decode())
    assert path is not None
    for asked in ("", "?lang=", "?lang=fi"):
        assert "Planned outage" in client.get(path[1] + asked, headers={"accept-language": "et"}).content.decode()

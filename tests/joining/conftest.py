"""What the tests of joining share: people of staff, a form that is filled in well, and the mails that go out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail as django_mail
from django.test import Client

from participants import applications, mail
from participants.models import Application, Mail
from tests.staff.people import person

FORM = {
    "institution_name": "Põllumajandusamet",
    "contact_name": "Mari Maasikas",
    "contact_email": "mari@amet.test",
    "technical_name": "Tõnu Tamm",
    "technical_email": "tonu@amet.test",
    "name": "bot-amet",
    "type": "Chatbot",
    "host": "https://bot.amet.test/messages",
    "components": ["ruuter-public", "resql"],
    "remarks": "",
}


@pytest.fixture
def registrar() -> User:
    return person("registrar", name="rita", email="rita@core.test")


@pytest.fixture
def approver() -> User:
    return person("approver", name="aare", email="aare@core.test")


@pytest.fixture
def application() -> Application:
    """Of a stranger, by the public form."""
    return applications.apply(Application(**FORM, language="en"))


Outbox = Callable[[], list[Any]]


@pytest.fixture
def letters() -> Outbox:
    """Sends what waits, and returns what went out since the last time."""
    django_mail.outbox = []

    def fetch() -> list[Any]:
        mail.send()
        found, django_mail.outbox = django_mail.outbox, []
        return found

    return fetch


def link_in(text: str) -> str:
    """The path of the link in a mail."""
    (found,) = re.findall(r"https?://[^/\s]+(/join/\S+)", text)
    return str(found)


def to(letters: list[Any], address: str) -> Any:
    (found,) = [each for each in letters if each.to == [address]]
    return found


def browser() -> Client:
    """Somebody without an account, whose POSTs need a CSRF token."""
    return Client(enforce_csrf_checks=True)


def send(client: Client, path: str, data: dict[str, Any]) -> Any:
    """Opens the page and sends its form, as people do."""
    opened = client.get(path)
    (token,) = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', opened.content.decode())
    return client.post(path, {**data, "csrfmiddlewaretoken": token})


def waiting() -> int:
    return Mail.objects.filter(state="waiting").count()

"""The log-in page leads to where somebody wanted to go."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse

from staff import roles
from tests.staff.people import PASSWORD, person

pytestmark = pytest.mark.django_db
LOGIN, INDEX, FLEET = (
    reverse("admin:login"),
    reverse("admin:index"),
    reverse("admin:observability_instance_changelist"),
)


@pytest.mark.parametrize(("asked", "expected"), [(LOGIN, INDEX), (FLEET, FLEET), (INDEX, INDEX)])
def test_leads_on(client: Client, asked: str, expected: str) -> None:
    user = person(roles.VIEWER)
    page = client.get(asked, follow=True).content.decode()
    action = re.findall(r'<form action="([^"]+)" method="post" id="login-form">', page)[0]
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    answer = client.post(action, {**hidden, "username": user.username, "password": PASSWORD})
    assert (answer.status_code, answer["Location"]) == (302, expected)

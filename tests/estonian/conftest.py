"""A browser in Estonian, of somebody who may do everything, over a network that has something of everything."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation

from tests.estonian import network, seen
from tests.staff.people import browser


@pytest.fixture
def estonian(db: None, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Client:
    """Marks what is translated; what is not stays as it is."""
    seen.mark_what_is_translated(monkeypatch)
    with translation.override("en"):
        user = User.objects.create_superuser("xqadmin", "xq@core.test")
        network.build(user)
    settings.LANGUAGE_CODE = "et"
    client = browser(user)
    client.cookies["django_language"] = "et"
    return client

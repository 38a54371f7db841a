"""Every page of the admin is drawn in Estonian, and what people see besides is counted: there must be nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from participants.models import Participant
from tests.estonian import seen

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

PRESSED = ("do", "rotate", "stop")  # buttons: they lead back to a page


def pages() -> Iterator[str]:
    """The address of every page there is: by model, and those of their own."""
    for model, each in admin.site._registry.items():
        of_model = f"{model._meta.app_label}_{model._meta.model_name}_"
        rows = list(model._default_manager.order_by("-pk")[:3]) or list(Participant.objects.order_by("pk")[:1])
        for pattern in each.get_urls():
            name = (pattern.name or "").removeprefix(of_model)
            if not (pattern.name or "").startswith(of_model) or name in PRESSED:
                continue
            if not pattern.pattern.converters:
                yield reverse(f"admin:{pattern.name}")
            for row in rows if pattern.pattern.converters else ():
                yield reverse(f"admin:{pattern.name}", args=[row.pk])
        yield f"{reverse(f'admin:{of_model}changelist')}?q=nobody-has-this"
    for name in ("index", "password_change", "second_factor", "login", "logout"):
        yield reverse(f"admin:{name}")


def test_no_page_says_anything_untranslated(estonian: Client) -> None:
    drawn = {}
    for url in pages():
        answer = estonian.get(url)
        if answer.status_code == 200 and "html" in answer["Content-Type"]:
            drawn[url] = answer.content.decode()
    assert len(drawn) > 100
    found: dict[str, str] = {}
    known = seen.data()  # now, since what was refused is in the log too
    for url, page in drawn.items():
        for each in seen.untranslated(page, known):
            found.setdefault(each, url)
    listed = [f"{each} ({url})" for each, url in found.items()]
    assert not listed, "\n".join([f"{len(listed)} untranslated:", *listed])

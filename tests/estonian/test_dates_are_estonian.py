"""Dates and times as people here write them: never in English, with a. m. and p. m., on an Estonian page."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from django import forms
from django.template import Context, Template
from django.utils import translation
from django.utils.formats import localize
from django.utils.timezone import localtime

EVENING = datetime(2026, 11, 27, 19, 36, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("language", "written", "said"),
    [
        ("et", "{{ at }}", "27.11.2026 21:36"),
        ("et", "{{ at|date }}", "27. november 2026"),
        ("et", "{{ at|time }}", "21:36"),
        ("et", "{{ at|date:'SHORT_DATETIME_FORMAT' }}", "27.11.2026 21:36"),
        ("et", "{{ at|date:'YEAR_MONTH_FORMAT' }}", "november 2026"),
        ("en", "{{ at }}", "2026-11-27 21:36:05"),
    ],
)
def test_as_they_are_shown(language: str, written: str, said: str) -> None:
    with translation.override(language):
        assert Template(written).render(Context({"at": EVENING})) == said


def test_also_where_code_writes_them() -> None:
    with translation.override("et"):
        assert localize(localtime(EVENING)) == "27.11.2026 21:36"


@pytest.mark.parametrize("typed", ["27.11.2026 21:36", "2026-11-27 21:36", "2026-11-27T21:36"])
def test_as_they_are_typed(typed: str) -> None:
    with translation.override("et"):
        assert forms.DateTimeField().clean(typed) == EVENING.replace(second=0)
        assert str(forms.DateField().clean(typed[:10])) == "2026-11-27"

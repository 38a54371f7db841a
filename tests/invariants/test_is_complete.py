"""Migrations and the API's schema say what the code says."""

from __future__ import annotations

import io
import re

import pytest
import yaml
from django.core.management import call_command
from drf_spectacular.drainage import GENERATOR_STATS

from tests.invariants.test_every_route_asks_who_it_is import API


@pytest.mark.django_db
def test_migrations_are_complete() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=3)


def test_schema_has_every_route_and_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    GENERATOR_STATS.reset()
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=out)
    said = capsys.readouterr()
    assert "Warning" not in said.err, said.err
    paths = yaml.safe_load(out.getvalue())["paths"]
    described = {path.replace("{", "<").replace("}", ">") for path in paths}
    written = {"/" + re.sub(r"<\w+:(\w+)>", r"<\1>", route) for route in API}
    assert written - described == set(), "not in the schema"
    assert {"/messages", "/messages/<message_id>", "/centops/public/participants"} <= described
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert operation["responses"], f"{method} {path}"

"""Names of models, fields, states and forms are translated when they are shown, and the log's words are all there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import pytest
from django import forms
from django.contrib import admin
from django.utils.functional import Promise

from dmr_project.wording import our_apps, our_choices
from participants import audit_words
from tests import texts

OURS = [model for config in our_apps() for model in config.get_models()]


@pytest.mark.parametrize("model", OURS, ids=str)
def test_a_model_and_its_fields(model: Any) -> None:
    assert isinstance(model._meta.verbose_name, Promise)
    assert isinstance(model._meta.verbose_name_plural, Promise)
    for field in model._meta.concrete_fields:
        assert isinstance(field.verbose_name, Promise), field
        assert isinstance(field.help_text, Promise) or not field.help_text, field
        for _value, label in field.choices or ():
            assert isinstance(label, Promise), field


def test_states_wherever_they_are() -> None:
    members = [member for choices in our_choices() for member in choices]
    assert [member for member in members if not isinstance(member.label, Promise)] == []


def test_apps() -> None:
    assert all(isinstance(config.verbose_name, Promise) for config in our_apps())


@pytest.mark.parametrize("each", admin.site._registry.values(), ids=str)
def test_columns_actions_and_filters(each: Any) -> None:
    for name in (*each.list_display, *each.readonly_fields, *(each.actions or ())):
        found = getattr(each, name, None) if isinstance(name, str) else name
        if callable(found) and name != "__str__":
            assert isinstance(getattr(found, "short_description", None), Promise), name
    for name in each.list_filter:
        if isinstance(name, type):
            assert isinstance(name.title, Promise), name
    assert isinstance(each.search_help_text, Promise) or not each.search_help_text


def our_forms(parent: type[Any] = forms.BaseForm) -> Iterator[Any]:
    for each in parent.__subclasses__():
        if each.__module__.split(".")[0] in texts.PACKAGES:
            yield each
        yield from our_forms(each)


# By the model of accounts, and by the template that draws them.
NAMED_ELSEWHERE = {("LogInForm", "username"), ("RotateForm", "reason"), ("RotateForm", "at_once")}


def test_fields_of_forms() -> None:
    for form in our_forms():
        for name, field in form.base_fields.items():
            if not field.widget.is_hidden and (form.__name__, name) not in NAMED_ELSEWHERE:
                assert isinstance(field.label, Promise), f"{form.__module__}.{form.__name__}.{name}: {field.label!r}"
                assert isinstance(field.help_text, Promise) or not field.help_text, f"{form}.{name}"


CALLS = {"record", "note", "_note", "_change"}


def actions_in_code() -> Iterator[tuple[str, str]]:
    for package in ("participants", "relay", "updates", "observability", "staff"):
        for path in (texts.ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                    called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                    if called in CALLS and isinstance(node.args[0].value, str):
                        yield node.args[0].value, str(path.relative_to(texts.ROOT))


def test_every_action_of_the_log_has_words() -> None:
    found = list(actions_in_code())
    assert len(found) > 40
    missing = {each for each in found if each[0] not in audit_words.ACTIONS}
    assert missing == set(), "add it to participants/audit_words.py"

"""Nonsense in place of a key, in an address or a form of the admin, is refused, and is no mistake of ours."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import transaction
from django.forms import BaseForm, IntegerField, ModelChoiceField, MultiValueField
from django.forms.fields import BaseTemporalField
from django.test import Client, RequestFactory
from django.urls import NoReverseMatch, reverse

from staff import roles
from tests import many
from tests.staff.people import browser, person

# A word, and a number that no column holds.
NONSENSE = ("abc", "9" * 30)
ALWAYS = ("p", "o", "pk__exact", "pk__in")

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    many.fill(3)
    found = browser(person(*roles.EVERYBODY))
    found.raise_request_exception = False
    return found


def request_of(client: Client) -> Any:
    request = RequestFactory().get("/admin/")
    request.user = person(*roles.EVERYBODY, name="somebody")
    return request


def broken(client: Client, asked: Iterator[tuple[str, dict[str, Any] | None]]) -> list[str]:
    """Those requests that are answered by 500: an address, and what is posted to it. None changes anything."""
    found = []
    for address, data in asked:
        with transaction.atomic():
            answer = client.get(address) if data is None else client.post(address, data)
            transaction.set_rollback(True)
        if answer.status_code >= 500:
            found.append(f"{address} {data or ''}")
    return found


def each_admin() -> Iterator[tuple[str, Any]]:
    for each in admin.site._registry.values():
        yield f"admin:{each.opts.app_label}_{each.opts.model_name}", each


@pytest.mark.slow
def test_in_the_query_of_a_list(client: Client) -> None:
    def asked() -> Iterator[tuple[str, None]]:
        for name, _ in each_admin():
            address = reverse(f"{name}_changelist")
            known = {*ALWAYS}
            for spec in client.get(address).context["cl"].filter_specs:
                known.update(each for each in spec.expected_parameters() if each)
            for field in sorted(known):
                for value in NONSENSE:
                    yield f"{address}?{urlencode({field: value})}", None

    assert broken(client, asked()) == []


def test_in_the_path(client: Client) -> None:
    def asked() -> Iterator[tuple[str, dict[str, Any] | None]]:
        for _, each in each_admin():
            for pattern in each.get_urls():
                for value in NONSENSE:
                    taken = pattern.pattern.converters
                    if not taken:
                        continue
                    given = {name: "suspend" if name in ("name", "form") else value for name in taken}
                    try:
                        address = reverse(f"admin:{pattern.name}", kwargs=given) if pattern.name else None
                    except NoReverseMatch:  # a converter that takes none
                        continue
                    if address:
                        yield address, None
                        yield address, {}

    assert broken(client, asked()) == []


def likely(form: BaseForm) -> dict[str, Any]:
    """What the form holds, and of what it asks for something that may do."""
    data: dict[str, Any] = {}
    for bound in form:
        value = bound.value()
        if value in (None, "") and getattr(bound.field, "choices", None):
            offered = [key for key, _ in bound.field.choices if key]
            value = str(offered[0]) if offered else None
        if value not in (None, "", False):
            data[bound.html_name] = value
        elif bound.field.required:
            data[bound.html_name] = "1"
    return data


def forms_of(answer: Any) -> Iterator[BaseForm]:
    """The page's own, and those of what is edited beside it."""
    context = answer.context or {}
    for name in ("form", "asked"):
        if name in context and isinstance(context[name], BaseForm):
            yield context[name]
    if "adminform" in context:
        yield context["adminform"].form
    for each in (context["inline_admin_formsets"] or ()) if "inline_admin_formsets" in context else ():
        yield each.formset.management_form
        yield from each.formset.forms


# What takes a key, a number or a time; what takes a text takes any.
ASKS_FOR = (ModelChoiceField, IntegerField, BaseTemporalField, MultiValueField)


# Of each kind that Django fails at, one.
FIELDS = (
    ("participants/participant/add/", "institution"),
    ("participants/outage/add/", "participants"),
    ("participants/outage/add/", "begins_at"),
    ("relay/deadletterjob/add/", "since"),
    ("updates/rollout/add/", "institution"),
    ("updates/staffkey/add/", "person"),
)


@pytest.mark.parametrize(("page", "field"), FIELDS)
def test_in_a_field(page: str, field: str) -> None:
    client = browser(person(*roles.EVERYBODY))
    for value in NONSENSE:
        assert client.post(f"/admin/{page}", {field: value}).status_code == 200, "the form again, with what is wrong"
        assert client.get(f"/admin/{page}", {field: value}).status_code == 200


@pytest.mark.parametrize("value", NONSENSE)
def test_in_a_list(value: str) -> None:
    client = browser(person(*roles.EVERYBODY))
    address = "/admin/relay/delivery/"
    assert client.post(address, {"action": "requeue", ACTION_CHECKBOX_NAME: value}).status_code == 400
    assert client.get(address, {"pk__in": value}).status_code in (200, 302)


@pytest.mark.slow
def test_in_the_fields_of_a_form(client: Client) -> None:
    def asked() -> Iterator[tuple[str, dict[str, Any] | None]]:
        for name, each in each_admin():
            first = each.get_queryset(request).order_by("pk").first()
            for address in (reverse(f"{name}_add"), reverse(f"{name}_change", args=[first.pk])):
                found = list(forms_of(client.get(address)))
                data = {key: value for form in found for key, value in likely(form).items()}
                fields = [bound.html_name for form in found for bound in form if isinstance(bound.field, ASKS_FOR)]
                for field, value in itertools.product(fields, NONSENSE):
                    yield address, {**data, field: value}
                    if address.endswith("/add/"):
                        yield f"{address}?{urlencode({field: value})}", None

    request = request_of(client)
    assert broken(client, asked()) == []


@pytest.mark.slow
def test_in_what_is_chosen_for_an_action(client: Client) -> None:
    request = request_of(client)

    def asked() -> Iterator[tuple[str, dict[str, Any] | None]]:
        for name, each in each_admin():
            first = each.get_queryset(request).order_by("pk").first()
            for action in each.get_actions(request):
                for value in NONSENSE:
                    data = {"action": action, ACTION_CHECKBOX_NAME: value}
                    yield reverse(f"{name}_changelist"), data
                    yield reverse(f"{name}_changelist"), {**data, "chosen": value, "confirmed": "1"}
                    data[ACTION_CHECKBOX_NAME] = str(first.pk)
                    yield reverse(f"{name}_changelist"), {**data, "chosen": value, "confirmed": "1"}

    assert broken(client, asked()) == []

"""Every page of the admin wears the theme, and no page asks anybody else for anything."""

from __future__ import annotations

import re

import pytest
from django.contrib import admin
from django.test import Client, RequestFactory
from django.urls import reverse

from participants.admin import ModelAdmin, TabularInline
from staff import roles
from tests.staff.people import browser, person

ELSEWHERE = re.compile(r"""(?:src|href|action)\s*=\s*["']?(?:https?:)?//|url\(\s*["']?(?:https?:)?//|@import""")

pytestmark = pytest.mark.django_db


def test_every_admin_and_every_inline_wears_it() -> None:
    for each in admin.site._registry.values():
        assert isinstance(each, ModelAdmin), f"{each}: derive it from participants.admin.ModelAdmin"
        for inline in each.inlines:
            assert issubclass(inline, TabularInline), f"{inline}: derive it from participants.admin.TabularInline"


def test_pages_ask_nobody_else(client: Client) -> None:
    everybody = browser(person(*roles.EVERYBODY))
    urls = [
        reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for model in admin.site._registry
    ]
    for url in (reverse("admin:index"), *urls):
        page = everybody.get(url).content.decode()
        assert "staff/admin.css" in page, url
        assert ELSEWHERE.findall(page) == [], url
    assert ELSEWHERE.findall(client.get(reverse("admin:login")).content.decode()) == []


@pytest.mark.parametrize("path", ["staff/admin.css", "unfold/css/styles.css", "unfold/fonts/inter/styles.css"])
def test_its_files_are_served_and_ask_nobody_else(client: Client, path: str) -> None:
    answer = client.get(f"/static/{path}")
    assert answer.status_code == 200
    assert ELSEWHERE.findall(b"".join(answer).decode()) == []


def test_the_sidebar_offers_what_may_be_seen_and_nothing_else() -> None:
    user = person(roles.VIEWER)
    page = browser(user).get(reverse("admin:index"))
    offered = {each["link"] for group in page.context["sidebar_navigation"] for each in group["items"]}
    request = RequestFactory().get("/admin/")
    request.user = user
    for model, each in admin.site._registry.items():
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        assert (url in offered) == each.has_module_permission(request) & any(
            each.get_model_perms(request).values()
        ), url

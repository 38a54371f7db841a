"""What the admin answers to what is sent: forms with nothing, with nonsense and with something in them, buttons that
are pressed, actions before and after somebody says yes. All of it in Estonian.

Forms are found where people find them, on the pages. What each does is undone before the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import pytest
from django.contrib import admin
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from participants import names
from participants.models import Participant
from tests.estonian import seen
from tests.estonian.test_pages_say_nothing_untranslated import pages
from updates.models import Release

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
NONSENSE = "xq"
# They lead out, or change who is logged in or in which language.
LEFT_ALONE = ("/admin/logout/", "/admin/login/", "/admin/language/")


@dataclass
class Form:
    """`fields`: name → what the page has there; of a choice the first that is one, of a file None."""

    action: str
    method: str = "get"
    fields: dict[str, Any] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    rows: set[str] = field(default_factory=set)  # fields that choose a row: they hold an id, whatever people type

    @property
    def kind(self) -> tuple[str, ...]:
        """The same for the forms of many rows."""
        return re.sub(r"/\d+/", "/1/", self.action), *sorted(re.sub(r"\d+", "1", name) for name in self.fields)

    def empty(self) -> dict[str, Any]:
        return {name: value for name, value in self.fields.items() if name in self.hidden}

    def nonsense(self) -> dict[str, Any]:
        said = {name: value if name in self.hidden else NONSENSE for name, value in self.fields.items()}
        said |= dict.fromkeys(self.rows, "0")
        return said | {name: _file() for name, value in self.fields.items() if value is None}

    def filled(self) -> dict[str, Any]:
        said = {name: _file() if value is None else value or NONSENSE for name, value in self.fields.items()}
        return said | {name: self.fields[name] for name in self.rows}


def _file() -> SimpleUploadedFile:
    return SimpleUploadedFile("xq.csv", b"xq")


class Forms(HTMLParser):
    """Those that are posted."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.found: list[Form] = []
        self.now: Form | None = None
        self.chooses = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name = given.get("name") or ""
        if tag == "form":
            self.now = Form(urljoin(self.url, given.get("action") or ""), (given.get("method") or "get").lower())
        elif self.now is None:
            return
        elif tag == "option":
            if self.chooses and not self.now.fields.get(self.chooses):
                self.now.fields[self.chooses] = given.get("value") or ""
        elif not name:
            return
        elif tag == "select":
            self.chooses = name
            self.now.fields.setdefault(name, "")
            if "admin-autocomplete" in (given.get("class") or ""):
                self.now.rows.add(name)
        elif tag == "textarea":
            self.now.fields[name] = ""
        elif tag == "input":
            self._input(self.now, name, given)

    def _input(self, form: Form, name: str, given: dict[str, str | None]) -> None:
        kind, value = given.get("type") or "text", given.get("value") or ""
        if kind == "file":
            form.fields[name] = None
        elif kind in ("checkbox", "radio"):
            form.fields.setdefault(name, value or "on")
        elif kind not in ("submit", "button", "reset"):
            form.fields[name] = value
            if kind == "hidden":
                form.hidden.add(name)

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self.chooses = ""
        elif tag == "form" and self.now is not None:
            if self.now.method == "post":
                self.found.append(self.now)
            self.now = None


def forms_of(page: str, url: str) -> list[Form]:
    plain = page.replace(seen.BEGIN, "").replace(seen.END, "")
    parser = Forms(url)
    parser.feed(plain)
    return [each for each in parser.found if not each.action.startswith(LEFT_ALONE)]


@contextmanager
def undone() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


class Answers:
    """What was said to what was sent, where it is not translated."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.known = seen.data()
        self.untranslated: dict[str, str] = {}
        self.count = 0

    def send(self, url: str, said: dict[str, Any], what: str) -> str:
        """Sends it, goes where that leads, and looks. Returns the page."""
        answer = self.client.post(url, said, follow=True)
        assert answer.status_code < 500, (url, said)
        if answer.status_code >= 400 or "html" not in answer["Content-Type"]:
            return ""
        self.count += 1
        page: str = answer.content.decode()
        for each in seen.untranslated(page, self.known):
            left = re.sub(r"\b[Xx]q\w*", " ", each)
            if seen.WORD.search(left):
                self.untranslated.setdefault(left, f"{what} of {url}")
        return page

    def check(self) -> None:
        listed = [f"{each} ({where})" for each, where in self.untranslated.items()]
        assert not listed, "\n".join([f"{len(listed)} untranslated:", *listed])


@pytest.mark.slow
def test_answers_to_forms(estonian: Client) -> None:
    forms: dict[tuple[str, ...], Form] = {}
    for url in dict.fromkeys(pages()):
        answer = estonian.get(url)
        if answer.status_code == 200 and "html" in answer["Content-Type"]:
            for form in forms_of(answer.content.decode(), url):
                if "action" not in form.fields:  # of lists: the other test
                    forms.setdefault(form.kind, form)
    answers = Answers(estonian)
    for form in forms.values():
        for name in ("empty", "nonsense", "filled"):
            with undone():
                answers.send(form.action, getattr(form, name)(), name)
    assert len(forms) > 30
    assert answers.count > 80
    answers.check()


def refused() -> Iterator[tuple[str, dict[str, Any]]]:
    """What is well-formed, and what the domain does not do: form after form."""
    now = timezone.localtime()
    day, hour = f"{now:%Y-%m-%d}", f"{now:%H:%M}"
    later = f"{now + timedelta(days=400):%Y-%m-%d}"
    bot = Participant.objects.get(name="xq-bot-1")
    relay = Participant.objects.get(name=names.RELAY)
    outage = {"kind": "planned", "begins_at_0": day, "begins_at_1": hour, "text_et": "xq"}
    for more in (
        {"participants": [relay.pk]},
        {"institution": bot.institution_id, "participants": [bot.pk]},
        {"begins_at_0": later},
        {"ends_at_0": later, "ends_at_1": hour, "participants": [bot.pk], "text_et": ""},
    ):
        yield reverse("admin:participants_outage_add"), outage | more
    published = Release.objects.get(version="1.1.0")
    rollout = {
        "release": published.pk, "waves": "100", "gate": "1", "soak_seconds": "0", "max_failures": "0",
        "participant_type": "Chatbot",
    }  # fmt: skip
    for more in ({"waves": "50,10"}, {"gate": "0"}, {"participant_type": "Classifier"}, {}):
        yield reverse("admin:updates_rollout_add"), rollout | more
    yield reverse("admin:participants_invitation_add"), {"email": "xq", "language": "et"}
    fields = {
        "institution": bot.institution_id, "type": "Chatbot", "status": "Active", "delivery_mode": "push",
        "announcements": "all", "name": "xq-new", "host": "https://xq.test/",
    }  # fmt: skip
    for more in (
        {"name": "xq-bot-1"}, {"name": "Dmr "}, {"name": "õõõõ"}, {"host": "ftp://xq.test"}, {"host": "https://a:b@xq.test"},
        {"success_statuses": "9"}, {"source_networks": "10.1.2.3/24"}, {"source_networks": "10.0.0.0/8"},
        {"messages_per_second": "-1"},
    ):  # fmt: skip
        yield reverse("admin:participants_participant_add"), fields | {"success_statuses": "2xx"} | more
    yield reverse("admin:participants_institution_add"), {"name": "Xqamet", "status": "Active"}
    for networks in ("xq", "127.0.0.0/8", "10.1.2.3/24"):
        yield reverse("admin:participants_endpointterms_of", args=[bot.pk]), {"allowed_networks": networks}
    for name in ("approve", "publish", "withdraw"):
        for release in Release.objects.all():
            yield reverse("admin:updates_release_do", args=[release.pk, name]), {"reason": "xq"}


def test_answers_to_what_the_domain_refuses(estonian: Client) -> None:
    answers = Answers(estonian)
    for url, said in refused():
        with undone():
            answers.send(url, said, f"{said}")
    assert answers.count > 25
    answers.check()


@pytest.mark.slow
def test_answers_to_actions(estonian: Client) -> None:
    answers = Answers(estonian)
    count = 0
    for model, of_model in admin.site._registry.items():
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        rows = [str(pk) for pk in of_model.model._default_manager.order_by("-pk").values_list("pk", flat=True)[:5]]
        page = estonian.get(url)
        for name in page.context["cl"].model_admin.get_actions(page.wsgi_request) if rows else ():
            count += 1
            with undone():
                preview = answers.send(url, {"action": name, "_selected_action": rows}, f"{name}, asked for,")
                for form in forms_of(preview, url):
                    if "confirmed" in form.fields or "post" in form.fields:
                        answers.send(url, form.filled() | {"confirmed": "yes"}, f"{name}, without a reason,")
                        answers.send(url, form.filled(), f"{name}, done,")
    assert count > 15
    answers.check()


def test_forms_are_read_as_browsers_do() -> None:
    page = """<form method="post" action="go/"><input type="hidden" name="of" value="1"><input name="name" value="a">
    <select name="kind"><option value="">–</option><option value="b">B</option></select><input type="file" name="it">
    <textarea name="text"></textarea><input type="submit" name="_save" value="Save"></form>
    <form><input name="q"></form>"""
    (form,) = forms_of(page, "/admin/x/")
    assert form.action == "/admin/x/go/"
    assert form.fields == {"of": "1", "name": "a", "kind": "b", "it": None, "text": ""}
    assert form.empty() == {"of": "1"}
    assert form.nonsense()["kind"] == NONSENSE
    assert form.filled() | {"it": None} == {"of": "1", "name": "a", "kind": "b", "it": None, "text": NONSENSE}

"""What a page shows, text by text, and what of it is not translated: what is translated is marked, the rest counted.

Zero is allowed, but for data (what the rows hold) and the few names of NAMES.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from django.apps import apps
from django.db.models import JSONField, TextField
from django.db.models.fields import CharField
from django.utils import translation
from django.utils.translation import trans_real

from dmr_project.lib.sentences import shown
from observability.models import Contact
from observability.states import Health
from participants.models.joining import COMPONENTS
from tests import texts
from updates import reports, targets
from updates.models import TargetState

BEGIN, END = "⟦", "⟧"
# What is called the same in every language: products, formats, units, languages, and what is typed as it stands.
NAMES = {
    "DMR", "English", "Eesti", "UTC", "SHA-256", "KB", "GiB", "manage.py", "national",
    "dmr-relay", "EET", "EEST", "sha256", "http", "https", "GB", "Ruuter", *COMPONENTS,
}  # fmt: skip
# What columns without choices hold of states: they are shown by their labels.
STATES = {*TargetState.values, *Health.values, *Contact.values, reports.DEFERRED, targets.AGENT, targets.TICK}
SEEN_ATTRIBUTES = ("title", "aria-label", "placeholder", "alt", "label")
PUBLIC_KEY = re.compile(r"\bwhpk_\S+")
KEY_ID = re.compile(r"(?<![\w-])[\w-]{43}(?![\w-])")  # a thumbprint in base64
WORD = re.compile(r"[^\W\d_]{2,}")


@cache
def estonian() -> frozenset[Any]:
    """What our catalogue has, also where Estonian is the same word."""
    ids = (each.id for each in texts.written() if each.id)
    return frozenset(each for key in ids for each in (key if isinstance(key, tuple) else (key,)))


def mark_what_is_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks what is translated; what is not stays as it is."""
    plain_of, plural_of, context_of = trans_real.gettext, trans_real.ngettext, trans_real.pgettext

    def mark(said: str, *ids: str) -> str:
        is_known = said not in ids or bool(estonian() & set(ids))
        return f"{BEGIN}{said}{END}" if said and is_known else said

    for name, call in {
        "gettext": lambda text: mark(plain_of(text), str(text)),
        "ngettext": lambda one, many, count: mark(plural_of(one, many, count), one, many),
        "pgettext": lambda about, text: mark(context_of(about, text), str(text)),
    }.items():
        monkeypatch.setattr(translation._trans, name, call, raising=False)


class Seen(HTMLParser):
    """What a page shows, text by text: also what is read aloud or shown on hovering."""

    SILENT = {"script", "style", "code", "pre", "template"}
    ALONE = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr", "path"}

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.silent = 0
        self.open: list[bool] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        is_silent = tag in self.SILENT or "material-symbols-outlined" in (given.get("class") or "")
        if tag not in self.ALONE:
            self.open.append(is_silent)
            self.silent += is_silent
        self.texts += [given[name] or "" for name in SEEN_ATTRIBUTES if name in given and tag != "link"]
        if tag == "input" and given.get("type") in ("submit", "button", "reset"):
            self.texts.append(given.get("value") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.ALONE and self.open:
            self.silent -= self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.texts.append(data)


def data() -> re.Pattern[str]:
    """What the rows hold, the longest first: names, reasons, contents. But no states, actions and sentences of ours:
    they have words."""
    found: set[str] = set()
    for model in apps.get_models():
        told = model._meta.model_name == "change"
        for row in model._default_manager.all():
            found.add(str(row) if not told else row.actor)
            for field in model._meta.concrete_fields:
                value = field.value_from_object(row)
                if (told and field.name in ("action", "kind", "actor_kind")) or field.choices or not value:
                    continue
                if isinstance(field, JSONField):
                    found.update(leaves(value))
                elif isinstance(field, (CharField, TextField)):
                    found.add(str(value))
    with translation.override("et"):
        found = {each for each in found if shown(each) == each} - STATES
    longest_first = sorted((each for each in found if WORD.search(each)), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")


def leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each)
    else:
        yield str(value)


def untranslated(page: str, known: re.Pattern[str]) -> list[str]:
    while (shorter := re.sub(f"{BEGIN}[^{BEGIN}{END}]*{END}", " ", page)) != page:
        page = shorter
    seen = Seen()
    seen.feed(page)
    found = []
    for text in seen.texts:
        left = " ".join(unescape(text).split()).replace("Distributed Message Rooms", " ")
        if not WORD.search(left):
            continue
        left = KEY_ID.sub(" ", PUBLIC_KEY.sub(" ", left))  # first: they may hold what looks like anything
        left = re.sub(r"https?://\S+|\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\b[\w.-]+@[\w.-]+\b|\b[0-9a-f]{8,}\b", " ", left)
        # Durations after what is known: a key in base64 may hold what looks like one.
        left = re.sub(r"[\d.,]+\s?(s|h|ms|min|d)\b", " ", known.sub(" ", left))
        left = " ".join(word for word in left.split() if word.strip("():;,.…–") not in NAMES)
        if WORD.search(left):
            found.append(left)
    return found

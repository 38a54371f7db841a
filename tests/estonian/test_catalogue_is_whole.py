"""Every text that people see is there in Estonian, and the compiled catalogue says the same."""

from __future__ import annotations

import gettext
import re
from functools import cache
from typing import Any

from babel.messages.catalog import Catalog

from tests import texts

COMMAND = "run script/texts, and write the Estonian"


@cache
def found() -> Catalog:
    return texts.collect()


def test_everything_that_is_said_is_in_the_catalogue_and_nothing_besides() -> None:
    said = {(each.id, each.context) for each in found()}
    known = {(each.id, each.context) for each in texts.written()}
    assert len(said) > 900
    assert (said - known, known - said) == (set(), set()), COMMAND


def test_everything_is_translated() -> None:
    assert texts.untranslated(texts.written()) == [], COMMAND


def test_nothing_is_marked_as_a_guess() -> None:
    assert [each.id for each in texts.written() if each.id and each.fuzzy] == []


def test_placeholders_survive() -> None:
    for message in texts.written():
        if message.id:
            ids = as_tuple(message.id)
            wanted = {frozenset(placeholders(each)) for each in ids}
            for said in as_tuple(message.string):
                assert frozenset(placeholders(said)) in wanted, (message.id, said)


def placeholders(text: str) -> list[str]:
    return re.findall(r"%\(\w+\)[sdr]|%%|\{\w*\}|</?\w+", text)


def test_the_compiled_catalogue_is_up_to_date() -> None:
    assert texts.MO.read_bytes() == texts.as_mo(texts.written()), "run script/texts"


def test_the_compiled_catalogue_is_read_as_it_was_written() -> None:
    with texts.MO.open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    assert (
        compiled.ngettext("%(count)s message waits for it", "%(count)s messages wait for it", 1).count("sõnum") == 1
    )
    assert compiled.gettext("Participants") == "Osalejad"


def as_tuple(text: Any) -> tuple[str, ...]:
    return tuple(text) if isinstance(text, (tuple, list)) else (text,)

"""What rows keep for people, such as why a rollout paused: kept in English, said again in the language of who reads.

    _SILENT = Sentence("%(who)s is silent.")     # beside what writes it; the catalogue has it
    alert.message = _SILENT(who="bot-1")         # English: what the row, the logs and the API have
    shown(alert.message)                         # in Estonian for whoever reads Estonian

A row so says who did what without knowing who will read it, and those written before are translated too
(docs/adr/0026). What no sentence fits, such as what a person wrote, is shown as it stands.
"""

from __future__ import annotations

import re
from functools import lru_cache

from django.utils.translation import get_language, gettext

_NAME = re.compile(r"%\((\w+)\)s")
_LONGEST = 2_000  # characters: longer is nothing of ours, and would only cost time


class Sentence:
    """A text with `%(names)s`. Called with what they stand for, it gives the English that is kept."""

    def __init__(self, text: str) -> None:
        self.text = text
        literals = _NAME.split(text)[::2]
        names = _NAME.findall(text)
        pattern = re.escape(literals[0].replace("%%", "%"))
        for name, literal in zip(names, literals[1:], strict=True):
            pattern += f"(?P<{name}>.+?){re.escape(literal.replace('%%', '%'))}"
        self.pattern = re.compile(pattern, re.DOTALL)
        self.length = sum(map(len, literals))
        self._join()

    def _join(self) -> None:
        _sentences.append(self)
        _sentences.sort(key=lambda each: -each.length)  # what says more is what was meant
        _read.cache_clear()

    def __call__(self, **named: object) -> str:
        return self.text % named

    def __str__(self) -> str:
        return self.text % {}


class Word(Sentence):
    """What stands for a name within a sentence, such as a state; by itself it may be anybody's."""

    def _join(self) -> None:
        _words.append(self)
        _read.cache_clear()


_sentences: list[Sentence] = []
_words: list[Sentence] = []


def shown(text: str) -> str:
    """What a row keeps, in the language of the moment."""
    if (get_language() or "en").startswith("en"):
        return text
    return _translated(text, is_part=False)


def known() -> list[Sentence]:
    """All there are, those of the modules that are loaded."""
    return [*_sentences, *_words]


def _translated(text: str, *, is_part: bool) -> str:
    found = _read(text, is_part)
    if found is None:
        return text
    said, named = found
    return gettext(said) % {name: _translated(value, is_part=True) for name, value in named.items()}


@lru_cache(maxsize=4096)
def _read(text: str, is_part: bool) -> tuple[str, dict[str, str]] | None:
    """Which sentence it is, and what its names stood for."""
    if not text or len(text) > _LONGEST:
        return None
    for each in (*(_words if is_part else ()), *_sentences):
        match = each.pattern.fullmatch(text)
        if match is not None:
            return each.text, match.groupdict()
    return None

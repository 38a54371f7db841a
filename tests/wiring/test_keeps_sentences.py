"""What rows keep for people is English, and is said again in the language of who reads it."""

from __future__ import annotations

import ast
import json
import os
import string
import subprocess
import sys

import pytest
from django.utils import translation

from dmr_project.lib.sentences import Sentence, known, shown
from dmr_project.wording import WRITERS
from observability import alerts
from participants import life
from relay.delivery import failures, retry, settle, transport
from tests import texts
from updates import reports, rollouts, scheduler, signatures, waves
from updates.models import TargetState

PAUSE = scheduler._EXAMPLES[TargetState.ROLLED_BACK][1](
    why=waves._TOO_MANY(failed=2, most=1), who="bot-1", said="disk full"
)
SILENT = alerts._SILENT(
    who="bot of all", institution="Maa-amet", at="2026-11-27 10:00:00 EET", period=30, health=alerts._HEALTH["down"]
)


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (life._END_HAD_COME, "lõpp oli käes"),
        (transport.ANSWERED(status=503), "saaja vastas 503"),
        # Sentences within sentences.
        (
            retry._GIVEN_UP(error=transport.ANSWERED(status=503), attempts=10),
            "saaja vastas 503; pärast 10 katset loobuti",
        ),
        (
            settle._EXPIRED_AFTER(error=failures._NO_ANSWER(seconds="10")),
            "vastust ei tulnud 10 s jooksul; eluiga lõppes enne, kui edastada õnnestus",
        ),
        (PAUSE, "ebaõnnestunud 2, lubatud 1; bot-1 läks tagasi eelmisele versioonile: disk full"),
        (
            rollouts._UNSIGNED(why=signatures.SOME_SIGNED(release="1.1.0", threshold=2, people="anna")),
            "töötaja võti võeti tagasi: 1.1.0 vajab 2 eri inimese kehtivat allkirja; allkirjastanud on ainult anna.",
        ),
        # Names stay, states are translated.
        (
            SILENT,
            "bot (all of Maa-amet): maas, agent vaikib. Viimati teatas endast 2026-11-27 10:00:00 EET, peaks iga "
            "30 s järel. Viimane teade: maas.",
        ),
        (waves._BELOW_GATE(number=1, succeeded=1, counted=2, percent="100"),
         "1. etapp lõppes: õnnestus 1/2, lävend nõuab 100%"),
        (alerts._CLOSED(participant="bot-1", why=alerts.AWAY), "bot-1: ei jälgita: teatatud katkestuses"),
    ],
)  # fmt: skip
def test_says_again_in_estonian(kept: str, said: str) -> None:
    with translation.override("et"):
        assert shown(kept) == said
    with translation.override("en"):
        assert shown(kept) == kept


@pytest.mark.parametrize("text", ["", "down", "the new server is up", "not ours: %(why)s 100 %", "x" * 3000])
def test_leaves_what_people_wrote(text: str) -> None:
    with translation.override("et"):
        assert shown(text) == text


@pytest.mark.parametrize("each", [each for each in known() if type(each) is Sentence], ids=lambda each: each.text)
def test_every_sentence_is_known_again(each: Sentence) -> None:
    """Also with names that hold signs of patterns."""
    names = each.pattern.groupindex
    named = {name: f"{letter}.*(1)" for name, letter in zip(names, string.ascii_uppercase, strict=False)}
    with translation.override("et"):
        said = shown(each(**named))
        assert said == texts.written().get(each.text).string % named
        assert all(value in said for value in named.values())


def sentences_in_code() -> dict[str, set[str]]:
    """Module → the sentences and words that it declares."""
    found: dict[str, set[str]] = {}
    for package in texts.PACKAGES:
        for path in (texts.ROOT / package).rglob("*.py"):
            calls = [
                each for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(each, ast.Call)
            ]
            said = {
                each.args[0].value
                for each in calls
                if isinstance(each.func, ast.Name) and each.func.id in ("Sentence", "Word")
                and isinstance(each.args[0], ast.Constant)
            }  # fmt: skip
            if said:
                found[".".join(path.relative_to(texts.ROOT).with_suffix("").parts)] = {str(each) for each in said}
    return found


def test_every_process_knows_all_of_them() -> None:
    """Also one that has loaded nothing but what Django loads at the start."""
    declared = sentences_in_code()
    assert set(declared) == set(WRITERS)
    code = (
        "import django; django.setup(); from dmr_project.lib import sentences; import json;"
        "print(json.dumps([each.text for each in sentences.known()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=texts.ROOT, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "dmr_project.settings"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == set().union(*declared.values())


def test_states_that_agents_report_have_words() -> None:
    assert {each.text for each in reports.STATES} == {*TargetState.values, reports.DEFERRED}


KEPT = {"reason", "last_error", "note"}


def test_what_is_kept_is_a_sentence() -> None:
    """No text is written into a row but by a sentence: a plain one nobody could read in Estonian."""
    found = []
    for package in ("participants", "relay", "updates", "observability", "staff"):
        for path in (texts.ROOT / package).rglob("*.py"):
            if {"api", "migrations", "commands"} & set(path.parts):
                continue
            calls = [
                each for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(each, ast.Call)
            ]
            said = [keyword for call in calls for keyword in call.keywords if keyword.arg in KEPT]
            found += [f"{path.relative_to(texts.ROOT)}:{each.value.lineno}" for each in said if is_plain(each.value)]
    assert found == [], "write it by a Sentence (dmr_project/lib/sentences.py)"


def is_plain(value: ast.expr) -> bool:
    return isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and " " in str(value.value))

"""Every text of the public pages and of the mails is there in Estonian, and the compiled catalogue says the same."""

from __future__ import annotations

import ast
import gettext
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent / "participants"
CATALOGUE = ROOT / "locale" / "et" / "LC_MESSAGES"
MARKED = {"_", "gettext", "gettext_lazy"}
# What staff alone read: its Estonian comes with that of all the admin, and is counted there.
OF_THE_ADMIN = {
    ROOT / "admin",
    ROOT / "life.py",
    ROOT / "key_letters.py",  # no staff, but its Estonian comes with theirs
    ROOT / "models" / "announcements.py",
    ROOT / "models" / "outages.py",
    ROOT / "models" / "public_keys.py",
    ROOT / "models" / "registry.py",
    ROOT / "models" / "signing.py",
    ROOT / "outage_calendar.py",
    ROOT / "reach.py",
    ROOT / "scopes.py",
}


def written() -> dict[str, str]:
    """The .po, which is plain: a msgid and a msgstr a line."""
    text = (CATALOGUE / "django.po").read_text(encoding="utf-8")
    pairs = re.findall(r'^msgid (".+")\nmsgstr (".+")$', text, re.MULTILINE)
    return {ast.literal_eval(key): ast.literal_eval(value) for key, value in pairs}


def said_in_code() -> set[str]:
    found = set()
    for path in ROOT.rglob("*.py"):
        if OF_THE_ADMIN & {path, *path.parents}:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MARKED:
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}"
                found.add(node.args[0].value)
    return found


def said_in_templates() -> set[str]:
    found = set()
    for path in (ROOT / "templates" / "join").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        found.update(each for _, each in re.findall(r"{% translate (['\"])(.+?)\1 %}", text))
        for body in re.findall(r"{% blocktranslate[^%]*%}(.*?){% endblocktranslate %}", text, re.DOTALL):
            found.add(re.sub(r"{{ (\w+) }}", r"%(\1)s", body))
    return found


def test_everything_is_translated_and_nothing_besides() -> None:
    said, known = said_in_code() | said_in_templates(), written()
    assert len(said) > 90
    assert said - known.keys() == set(), "add it to participants/locale/et/LC_MESSAGES/django.po"
    assert known.keys() - said == set(), "no longer said"


def test_placeholders_survive() -> None:
    for key, value in written().items():
        assert set(re.findall(r"%\(\w+\)s", key)) == set(re.findall(r"%\(\w+\)s", value)), key


def test_the_compiled_catalogue_is_up_to_date() -> None:
    with (CATALOGUE / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    known = written()
    assert {key: compiled.gettext(key) for key in known} == known, "run: manage.py compilemessages"

"""The catalogue: collects every text that people see, keeps the Estonian that is there, and compiles it."""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("dmr_project", "participants", "relay", "updates", "observability", "staff")
FOLDER = ROOT / "dmr_project" / "locale" / "et" / "LC_MESSAGES"
PO, MO = FOLDER / "django.po", FOLDER / "django.mo"
KEYWORDS: dict[str, Any] = {
    **dict.fromkeys(("_", "gettext", "gettext_lazy", "gettext_noop"), None),
    **dict.fromkeys(("ngettext", "ngettext_lazy"), (1, 2)),
    **dict.fromkeys(("pgettext", "pgettext_lazy"), ((1, "c"), 2)),
    **dict.fromkeys(("Sentence", "Word"), None),  # dmr_project.lib.sentences
}
NEVER = datetime(2026, 1, 1, tzinfo=timezone.utc)
HEADER = """# The admin, the public pages and the mails in Estonian.
# After a change in the code or here: script/texts. The words to choose are in docs/estonian.md."""


def collect() -> Catalog:
    """What is said in code, in templates and by the names of models, by where it is said."""
    found = Catalog(locale="et", charset="utf-8", fuzzy=False, header_comment=HEADER)
    for place, text, context in said():
        found.add(text, locations=[(place, 0)], context=context)
    return found


def said() -> Iterator[tuple[str, Any, str | None]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*")):
            if path.suffix in (".py", ".html") and "migrations" not in path.parts:
                yield from ((str(path.relative_to(ROOT)), *each) for each in said_in(path))
    yield from said_by_names()


def said_in(path: Path) -> Iterator[tuple[Any, str | None]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        # Django makes calls of its tags, and Xs of the rest; how those are indented must mean nothing.
        text = "\n".join(line.strip() for line in templatize(text).splitlines())
    for _line, message, _comments, context in extract("python", io.BytesIO(text.encode()), KEYWORDS):
        yield message, context


def said_by_names() -> Iterator[tuple[str, Any, str | None]]:
    """What dmr_project/wording.py marks."""
    from dmr_project.wording import our_apps, our_choices

    for config in our_apps():
        yield config.name, english(config.verbose_name), None
        for model in config.get_models():
            yield config.name, english(model._meta.verbose_name), None
            yield config.name, english(model._meta.verbose_name_plural), None
            for field in model._meta.get_fields():
                for text in (getattr(field, "verbose_name", ""), getattr(field, "help_text", "")):
                    if text:
                        yield config.name, english(text), None
    for choices in our_choices():
        for member in choices:
            yield choices.__module__.split(".")[0], english(member.label), None


def english(text: Any) -> str:
    from django.utils.translation import override

    with override(None):
        return str(text)


def written() -> Catalog:
    return read_po(io.BytesIO(PO.read_bytes()), locale="et")


def merged(known: Catalog, found: Catalog) -> Catalog:
    """What is said now, with the Estonian of what was said before."""
    for message in found:
        before = known.get(message.id, message.context) if message.id else None
        if before is not None and before.string:
            message.string = before.string
    return found


def as_po(catalogue: Catalog) -> bytes:
    file = io.BytesIO()
    write_po(file, catalogue, width=0, sort_by_file=False, sort_output=True, omit_header=False, include_lineno=False)
    return re.sub(
        rb'"(POT-Creation|PO-Revision)-Date.*\n|"(Project-Id-Version|Report-Msgid-Bugs-To|Last-Translator|Language-Team|Generated-By).*\n',
        b"",
        file.getvalue(),
    )


def as_mo(catalogue: Catalog) -> bytes:
    file = io.BytesIO()
    catalogue.creation_date = catalogue.revision_date = NEVER  # the same bytes each time
    write_mo(file, catalogue)
    return file.getvalue()


def untranslated(catalogue: Catalog) -> list[str]:
    return sorted(str(each.id) for each in catalogue if each.id and not is_whole(each.string))


def is_whole(said: Any) -> bool:
    return all(said) if isinstance(said, (tuple, list)) else bool(said)


def main() -> int:
    import django

    os.environ["DMR_DATA_DIR"] = tempfile.mkdtemp(prefix="dmr-texts-")
    os.environ["DJANGO_SETTINGS_MODULE"] = "dmr_project.settings"
    django.setup()
    PO.write_bytes(as_po(merged(written(), collect())))
    now = written()
    MO.write_bytes(as_mo(now))
    left = untranslated(now)
    print(*left, f"{len(now)} texts; {len(left)} to translate, in {PO.relative_to(ROOT)}.", sep="\n")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())

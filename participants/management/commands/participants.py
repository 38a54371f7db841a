"""`manage.py participants export --format csv|json`, `… import FILE [--apply [--plan DIGEST]]`."""

from __future__ import annotations

import sys
from pathlib import PurePath
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from participants import history
from participants.exchange import applying, plan, reading, writing
from participants.exchange.columns import Value
from participants.exchange.plan import Entry, Plan, Verdict
from participants.management.commands._asking import content, person, refusals
from participants.models import Institution, Participant

CHOSEN_BY = ("institution", "type", "status")


class Command(BaseCommand):
    help = "Exports and imports participants."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        export = actions.add_parser("export", help="write participants to standard output, without any key")
        export.add_argument("--format", choices=list(writing.FORMATS), default="csv")
        export.add_argument("--institution", metavar="NAME", help="only its participants")
        export.add_argument("--type", choices=Participant.Type.values, help="only those of this type")
        export.add_argument("--status", choices=Participant.Status.values, help="only those in this status")
        taken = actions.add_parser("import", help="say what a file would change, row by row; with --apply, do it")
        taken.add_argument("file", metavar="FILE", help="CSV or JSON, as export writes it")
        taken.add_argument("--apply", action="store_true", help="do it: all of it, or nothing")
        taken.add_argument("--plan", default="", metavar="DIGEST", help="only if it is still what was shown before")
        taken.add_argument("--reason", default="", metavar="TEXT", help="why, for the audit log")
        for each in (export, taken):
            each.add_argument("--user", default="", metavar="NAME", help="who does it")

    def handle(self, *args: Any, **options: Any) -> None:
        actor = person(options["user"]).get_username() if options["user"] else history.COMMAND_LINE
        with refusals():
            if options["action"] == "export":
                self._export(actor, options)
            else:
                self._import(actor, options)

    def _export(self, actor: str, options: dict[str, Any]) -> None:
        asked = {name: options[name] for name in CHOSEN_BY if options[name]}
        rows = Participant.objects.present().order_by("name")
        if "institution" in asked:
            institution = Institution.objects.present().filter(name=asked["institution"]).first()
            if institution is None:
                raise CommandError(f"There is no institution {asked['institution']!r}.")
            rows = rows.filter(institution=institution)
        rows = rows.filter(**{name: value for name, value in asked.items() if name != "institution"})
        try:
            for piece in writing.export(rows, options["format"], actor=actor, asked=asked):
                self.stdout.write(piece, ending="")
        except BrokenPipeError:
            sys.stderr.close()  # whoever read has enough

    def _import(self, actor: str, options: dict[str, Any]) -> None:
        read = reading.read(content(options["file"]))
        found = plan.make(read.rows)
        digest = options["plan"] or found.digest
        self._tell(read.how, found)
        if found.is_refused:
            raise CommandError("Nothing is imported while a row is refused.")
        if not options["apply"]:
            self.stdout.write(f"Nothing is written. To do it: --apply --plan {found.digest}")
            return
        source = PurePath(options["file"]).name
        done = applying.apply(read.rows, digest, actor=actor, reason=options["reason"], source=source)
        self.stdout.write(f"{done.added} added, {done.changed} changed")
        if done.without_link:
            self.stdout.write(f"No contact to mail a link to their keys to: {', '.join(done.without_link)}")

    def _tell(self, how: str, found: Plan) -> None:
        self.stdout.write(f"Read as {how}")
        for entry in found.entries:
            if entry.verdict is not Verdict.UNCHANGED:
                self.stdout.write(line(entry))
        self.stdout.write(", ".join(f"{count} {verdict.value}" for verdict, count in found.counts.items()))


def line(entry: Entry) -> str:
    """Such as `3 tax-bot: changed; host: 'http://a/' → 'http://b/'`."""
    faults = [f"{each.column}: {each.why}" if each.column else each.why for each in entry.faults]
    differences = [
        f"{each.column}: {said(each.before)} → {said(each.after)}"
        if entry.verdict is Verdict.CHANGED
        else f"{each.column}: {said(each.after)}"
        for each in entry.differences
    ]
    return "; ".join([f"{entry.place} {entry.name or '–'}: {entry.verdict.value}", *(faults or differences)])


def said(value: Value) -> str:
    return "–" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)

"""`manage.py participants export --format csv|json`."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from participants import history
from participants.exchange import writing
from participants.management.commands._asking import person, refusals
from participants.models import Institution, Participant

CHOSEN_BY = ("institution", "type", "status")


class Command(BaseCommand):
    help = "Exports participants."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        export = actions.add_parser("export", help="write participants to standard output, without any key")
        export.add_argument("--format", choices=list(writing.FORMATS), default="csv")
        export.add_argument("--institution", metavar="NAME", help="only its participants")
        export.add_argument("--type", choices=Participant.Type.values, help="only those of this type")
        export.add_argument("--status", choices=Participant.Status.values, help="only those in this status")
        export.add_argument("--user", default="", metavar="NAME", help="who does it")

    def handle(self, *args: Any, **options: Any) -> None:
        actor = person(options["user"]).get_username() if options["user"] else history.COMMAND_LINE
        with refusals():
            self._export(actor, options)

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

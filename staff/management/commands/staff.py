"""`manage.py staff let-in NAME --user NAME`: helps somebody who cannot log in."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from participants import history
from participants.management.commands._asking import person, refusals
from staff import accounts


class Command(BaseCommand):
    help = "Helps staff who cannot log in."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        let_in = actions.add_parser("let-in", help="they need not wait, whoever failed to log in as them")
        let_in.add_argument("name", metavar="NAME")
        let_in.add_argument("--user", default="", metavar="NAME", help="who does it")

    def handle(self, *args: Any, **options: Any) -> None:
        user = person(options["name"])
        actor = person(options["user"]).get_username() if options["user"] else history.COMMAND_LINE
        with refusals():
            accounts.let_in(user, actor=actor)
        self.stdout.write(f"{user} may log in at once")

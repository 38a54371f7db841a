"""`manage.py roles sync`: the groups as the table in staff/roles.py says; `roles table`: that table as Markdown."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from staff import roles


class Command(BaseCommand):
    help = "Makes the groups of staff as the table of roles says, and shows that table."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("sync", help="give each role what the table says; every migration and start does so too")
        actions.add_parser("table", help="the table, as docs/staff.md has it")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "table":
            self.stdout.write(roles.markdown())
            return
        changed = roles.sync()
        for role, (given, taken) in changed.items():
            self.stdout.write(f"{role}: {given} permission(s) given, {taken} taken")
        if not changed:
            self.stdout.write("Every role was as the table says")

"""`manage.py staff_key add FILE.pub --user NAME`, `… withdraw KEY_ID --user NAME`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from participants.management.commands._asking import content, person, refusals
from updates import staff_keys
from updates.models import StaffKey


class Command(BaseCommand):
    help = "Registers or withdraws the public key of somebody who signs releases."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        add = actions.add_parser("add", help="register FILE.pub, as `dmr-agent release keygen` writes it")
        add.add_argument("file", metavar="FILE.pub")
        add.add_argument("--user", required=True, metavar="NAME", help="whose key it is")
        withdraw = actions.add_parser("withdraw", help="from now on the key counts for nothing")
        withdraw.add_argument("key_id", metavar="KEY_ID")
        withdraw.add_argument("--user", required=True, metavar="NAME", help="who withdraws it")

    def handle(self, *args: Any, **options: Any) -> None:
        user = person(options["user"])
        with refusals():
            if options["action"] == "add":
                text = content(options["file"]).decode("utf-8", "replace")
                key = staff_keys.add(text, user, actor=user.get_username())
                self.stdout.write(f"{key.key_id} is {user.get_username()}'s")
                return
            found = StaffKey.objects.filter(key_id=options["key_id"]).first()
            if found is None:
                raise CommandError(f"There is no staff key {options['key_id']}.")
            was_valid = staff_keys.withdraw(found, actor=user.get_username())
            self.stdout.write(f"{found.key_id} is withdrawn" if was_valid else "It was withdrawn already")

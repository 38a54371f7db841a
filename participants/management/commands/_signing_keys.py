"""What the commands for signing keys share: `… rotate [--now] [--reason TEXT] --user NAME` and `… list`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from participants.management.commands._asking import person, refusals
from participants.signing_keys import SigningKeys


class SigningKeyCommand(BaseCommand):
    keys: SigningKeys[Any]

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        rotate = actions.add_parser("rotate", help="publish the next key, which signs after a while")
        rotate.add_argument(
            "--now",
            action="store_true",
            help="a key may have leaked: a new one signs at once, all others are revoked",
        )
        rotate.add_argument("--reason", default="", metavar="TEXT", help="for the history")
        rotate.add_argument("--user", required=True, metavar="NAME", help="who does it")
        actions.add_parser("list", help="id, state and times of each, the newest first")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "list":
            now = timezone.now()
            for row in self.keys.rows().order_by("-number"):
                until = f" published until {row.published_until:%Y-%m-%dT%H:%MZ}" if row.published_until else ""
                self.stdout.write(f"{row.key_id} {row.state(now)} signs from {row.signs_from:%Y-%m-%dT%H:%MZ}{until}")
            return
        actor = person(options["user"]).get_username()
        with refusals():
            act = self.keys.replace if options["now"] else self.keys.rotate
            row = act(actor=actor, reason=options["reason"])
        how = "signs from now on; all others are revoked" if options["now"] else "is published"
        when = "" if options["now"] else f", and signs from {row.signs_from:%Y-%m-%dT%H:%MZ} on"
        self.stdout.write(f"{row.key_id} {how}{when}")

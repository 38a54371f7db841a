"""`manage.py staff let-in|take-away-factor|link|unlink NAME`: helps somebody to log in; `manage.py staff list`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandParser

from participants import history
from participants.management.commands._asking import person, refusals
from staff import accounts, second_factor
from staff.sign_on import people

HELP = {
    "let-in": "they need not wait, whoever failed to log in as them",
    "link": "single sign-on opens this account for that person at DMR_OIDC_ISSUER",
    "unlink": "single sign-on opens this account no more",
    "take-away-factor": "for who lost their second factor: they log in without, or set up another",
}


class Command(BaseCommand):
    help = "Helps staff who cannot log in, and lists who there is."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="name, roles and second factor of each active account")
        for name, said in HELP.items():
            action = actions.add_parser(name, help=said)
            action.add_argument("name", metavar="NAME")
            action.add_argument("--user", default="", metavar="NAME", help="who does it")
            if name == "link":
                action.add_argument("--subject", required=True, metavar="SUB", help="who they are at the provider")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "list":
            self.list()
            return
        user = person(options["name"])
        actor = person(options["user"]).get_username() if options["user"] else history.COMMAND_LINE
        if options["action"] == "let-in":
            accounts.let_in(user, actor=actor)
            self.stdout.write(f"{user} may log in at once")
        elif options["action"] == "take-away-factor":
            second_factor.take_away(user, actor=actor)
            self.stdout.write(f"{user} has no second factor")
        elif options["action"] == "link":
            with refusals():
                people.link(user, settings.OIDC_ISSUER, options["subject"], actor)
            self.stdout.write(f"{user} is {options['subject']} at {settings.OIDC_ISSUER}")
        else:
            people.unlink(user, actor)
            self.stdout.write(f"{user} has no identity at a provider")

    def list(self) -> None:
        rows = User.objects.filter(is_staff=True, is_active=True).select_related("second_factor")
        for user in rows.order_by("username"):
            held = ["superuser"] if user.is_superuser else []
            factor = "second factor" if hasattr(user, "second_factor") else "no second factor"
            self.stdout.write(f"{user}: {', '.join([*held, *accounts.roles_of(user)]) or 'no role'}; {factor}")

"""`manage.py release import MANIFEST --signature FILE… --user NAME`; `approve|publish|withdraw VERSION …`; `list`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from participants.management.commands._asking import content, person, refusals
from updates import manifest, releases
from updates.models import Release

DONE = {"approve": "approved", "publish": "published", "withdraw": "withdrawn"}


class Command(BaseCommand):
    help = "Imports, approves, publishes, withdraws and lists releases."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        take = actions.add_parser("import", help="store a manifest as a draft; again, with more signatures")
        take.add_argument("manifest", metavar="MANIFEST")
        take.add_argument(
            "--signature",
            nargs="+",
            action="extend",
            default=[],
            metavar="FILE",
            help="what `dmr-agent release sign` printed",
        )
        take.add_argument("--user", required=True, metavar="NAME", help="who writes the release")
        actions.add_parser("list", help="version, sequence, severity and state of each, the newest first")
        for name, done in DONE.items():
            action = actions.add_parser(name, help=f"the release is {done}")
            action.add_argument("version", metavar="VERSION")
            action.add_argument("--user", required=True, metavar="NAME", help="who does it")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "list":
            for each in Release.objects.order_by("-sequence"):
                self.stdout.write(f"{each.version} {each.sequence} {each.severity} {each.state}")
            return
        user = person(options["user"])
        with refusals():
            if options["action"] == "import":
                signed = [manifest.load_json(content(path), path) for path in options["signature"]]
                release = releases.import_manifest(content(options["manifest"]), signed, user)
                self.stdout.write(f"{release} is {release.state}, with {release.signatures.count()} signature(s)")
                return
            release = releases.find(options["version"])
            act = {"approve": releases.approve, "publish": releases.publish, "withdraw": releases.withdraw}
            act[options["action"]](release, user)
            self.stdout.write(f"{release} is {DONE[options['action']]}")

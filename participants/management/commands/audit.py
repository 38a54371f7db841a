"""`manage.py audit verify|head|export|archive`: the audit log for auditors."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime, time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from participants import audit, history
from participants.management.commands._asking import person, refusals


def moment(text: str) -> datetime:
    """A date or a time; without an offset it is Estonia's."""
    try:
        day = parse_date(text)
        found = datetime.combine(day, time()) if day else parse_datetime(text)
    except ValueError:
        found = None
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-11-24 or 2026-11-24T12:00:00+02:00")
    return found if timezone.is_aware(found) else timezone.make_aware(found)


def kept_head(text: str) -> tuple[int, str]:
    number, _, digest = text.partition(":")
    if not number.isdecimal() or len(digest) != 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not NUMBER:HASH, as `audit head` prints it")
    return int(number), digest.lower()


class Command(BaseCommand):
    help = "Verifies, exports and archives the audit log."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        verify = actions.add_parser("verify", help="follow the chain; exit 1 at the first entry that does not hold")
        verify.add_argument(
            "--expect-head",
            type=kept_head,
            action="append",
            default=[],
            metavar="NUMBER:HASH",
            help="a head that was kept elsewhere: proves that nothing was cut off or written anew since",
        )
        verify.add_argument("--file", metavar="FILE", help="an export or archive instead of the database")
        actions.add_parser("head", help="the newest entry as NUMBER:HASH, to be kept elsewhere")
        export = actions.add_parser("export", help="JSON lines, the oldest first")
        export.add_argument("--institution", metavar="NAME", help="only what concerns it")
        export.add_argument("--since", type=moment, metavar="TIME", help="from this time on")
        export.add_argument("--until", type=moment, metavar="TIME", help="before this time")
        archive = actions.add_parser("archive", help="move old entries into a file; the chain goes on from there")
        archive.add_argument("--before", type=moment, required=True, metavar="TIME")
        archive.add_argument("--out", type=Path, required=True, metavar="FILE", help="a new file")
        for each in (export, archive):
            each.add_argument("--user", default="", metavar="NAME", help="who does it")

    def handle(self, *args: Any, **options: Any) -> None:
        with refusals():
            getattr(self, f"_{options['action']}")(options)

    def _verify(self, options: dict[str, Any]) -> None:
        if options["file"]:
            try:
                with open(options["file"], encoding="utf-8") as lines:
                    found = audit.verify_file(lines)
            except (OSError, UnicodeDecodeError) as error:
                raise CommandError(f"{options['file']} cannot be read: {error}.") from None
        else:
            found = audit.verify(dict(options["expect_head"]), self._tell)
        self.stdout.write(f"{found.entries} entries, all whole; the newest is {found.number}:{found.hash}")

    def _tell(self, count: int) -> None:
        if count and count % 50_000 == 0:
            self.stderr.write(f"{count} entries so far")

    def _head(self, options: dict[str, Any]) -> None:
        newest = audit.head()
        self.stdout.write(f"{newest.number}:{newest.hash}")

    def _export(self, options: dict[str, Any]) -> None:
        name, since, until = (options[each] for each in ("institution", "since", "until"))
        rows = audit.select(audit.of_institution(name) if name else None, since, until)
        history.note("export", self._actor(options), kind="auditlog", subject=name or "", after=asked(options))
        try:
            for change in audit.in_batches(rows):
                self.stdout.write(audit.as_json(change))
        except BrokenPipeError:
            sys.stderr.close()  # whoever read has enough

    def _archive(self, options: dict[str, Any]) -> None:
        made = audit.archive(options["before"], options["out"], actor=self._actor(options))
        if made is None:
            self.stdout.write("There is nothing so old")
            return
        self.stdout.write(f"{options['out']} has the entries up to {made.number}:{made.hash}")
        self.stdout.write(f"its SHA-256 is {made.file_digest}")

    def _actor(self, options: dict[str, Any]) -> str:
        return person(options["user"]).get_username() if options["user"] else history.COMMAND_LINE


def asked(options: dict[str, Any]) -> dict[str, str]:
    return {name: str(options[name]) for name in ("institution", "since", "until") if options[name]}

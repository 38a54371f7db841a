"""`manage.py dead_letters list|requeue|discard [--recipient NAME] [--since TIME] [--until TIME] …`."""

from __future__ import annotations

import argparse
import time
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from participants.management.commands._asking import person, refusals
from relay import dead_letter_jobs, dead_letters, envelope
from relay.dead_letters import Place, Scope, Why
from relay.models import DeadLetterJob, Delivery
from relay.querysets import Obstacle

DONE = {"requeue": "requeued", "discard": "discarded"}
PAUSE = 0.5  # seconds, while beat's task is at the job


def moment(text: str) -> datetime:
    """ISO 8601; without an offset, by the clock on the wall."""
    try:
        found = parse_datetime(text if ":" in text else f"{text}T00:00")
    except ValueError:
        found = None
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-11-24T03:00 or 2026-11-24")
    return found if found.tzinfo else timezone.make_aware(found)


def message_id(text: str) -> UUID:
    found = envelope.parse_uuid(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not the id of a message")
    return found


class Command(BaseCommand):
    help = "Lists, requeues and discards dead letters."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        show = actions.add_parser("list", help="the newest first: since, sender, recipient, id, answer, reason")
        show.add_argument("--limit", type=int, default=100, help="at most so many")
        show.add_argument("--reason", default="", help="what the reason begins with")
        show.add_argument("--status", type=int, help="the recipient's last answer")
        for name, done in DONE.items():
            action = actions.add_parser(name, help=f"those of a recipient, since a time, or of a message are {done}")
            action.add_argument("--message", type=message_id, metavar="ID")
            action.add_argument("--user", required=True, metavar="NAME", help="who does it")
        for action in (show, *(actions.choices[name] for name in DONE)):
            action.add_argument("--recipient", default="", metavar="NAME")
            action.add_argument("--since", type=moment, metavar="TIME", help="dead since then, or later")
            action.add_argument("--until", type=moment, metavar="TIME", help="dead since then, or earlier")

    def handle(self, *args: Any, **options: Any) -> None:
        scope = Scope(None, options["recipient"], options["since"], options["until"])
        if options["action"] == "list":
            self._list(scope, Why(options["reason"], options["status"]), options["limit"])
            return
        actor = person(options["user"]).get_username()
        with refusals():
            if options["message"]:
                handled = (
                    dead_letters.requeue_message(options["message"], sender_id=None, actor=actor)
                    if options["action"] == "requeue"
                    else dead_letters.discard_message(options["message"], actor=actor)
                )
                self.stdout.write(said(options["action"], handled.count, dict(handled.left)))
                return
            self._work_off(dead_letter_jobs.start(options["action"], scope, actor=actor), actor)

    def _list(self, scope: Scope, why: Why, limit: int) -> None:
        after: Place | None = None
        listed = 0
        while listed < limit:
            page = dead_letters.page(scope, why, after, min(limit - listed, 500))
            for letter in page.letters:
                self.stdout.write(line_of(letter))
            listed += len(page.letters)
            after = page.next
            if after is None:
                break
        self.stdout.write(f"{listed} dead letter(s)" + (", and there are more" if after else ""))

    def _work_off(self, job: DeadLetterJob, actor: str) -> None:
        """Does the job's batches. Interrupted, it stops the job; killed, beat's task goes on with it."""
        told_at = time.monotonic()
        try:
            while job.is_running:
                is_ours = dead_letter_jobs.advance(job.pk)
                job.refresh_from_db()
                if job.is_running and not is_ours:
                    time.sleep(PAUSE)
                if job.is_running and time.monotonic() - told_at >= (1 if self.stdout.isatty() else 10):
                    told_at = time.monotonic()
                    self.stdout.write(f"{job.done + job.count_left} of {job.estimate}")
        except KeyboardInterrupt:
            dead_letter_jobs.stop(job, actor=actor)
            job.refresh_from_db()
        state = "" if job.state == DeadLetterJob.State.DONE else "; stopped before the end, run it again to go on"
        self.stdout.write(said(job.action, job.done, job.left) + state)


def said(action: str, count: int, left: dict[str, int]) -> str:
    words = [f"{count} {DONE[action]}"]
    words += [f"{number} left alone: {Obstacle(name).label}" for name, number in sorted(left.items())]
    return "; ".join(words)


def line_of(letter: Delivery) -> str:
    since = f"{timezone.localtime(letter.ended_at):%Y-%m-%d %H:%M:%S}"
    names = f"{letter.message.sender.name} -> {letter.recipient_name}"
    return f"{since}  {names}  {letter.message.written_id}  {letter.last_status or '-'}  {letter.last_error}"

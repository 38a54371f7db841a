"""`manage.py rollout start VERSION … --user NAME`, `… pause|resume|abort|status VERSION [--user NAME]`."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from participants import history
from participants.management.commands._asking import person, refusals
from participants.models import Institution, Participant
from updates import progress, releases, rollouts
from updates.models import Rollout

MOST_LISTED = 200


def shares(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of percentages such as 10,50,100") from None


class Command(BaseCommand):
    help = "Starts and steers rollouts, and shows how they stand."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        start = actions.add_parser("start", help="offer a published release to Instances, wave by wave")
        start.add_argument("version", metavar="VERSION")
        start.add_argument("--waves", type=shares, default=rollouts.DEFAULT_WAVES, help="cumulative percentages")
        start.add_argument("--gate", type=float, default=1.0, help="share of a wave that must have succeeded")
        start.add_argument("--soak", type=int, default=3600, help="seconds from the gate to the next wave")
        start.add_argument("--max-failures", type=int, default=0, help="more than these pause the rollout")
        start.add_argument("--institution", default="", metavar="NAME", help="only its participants")
        start.add_argument("--type", default=Participant.Type.CHATBOT, choices=Participant.Type.values)
        start.add_argument("--from-version", default="", metavar="VERSION", help="only Instances that run this")
        start.add_argument("--in-outages", action="store_true", help="Instances in an outage are not spared")
        start.add_argument("--user", required=True, metavar="NAME", help="who starts it")
        for name in ("pause", "resume", "abort", "status"):
            action = actions.add_parser(name)
            action.add_argument("version", metavar="VERSION")
            action.add_argument("--user", default="", metavar="NAME", help="who does it")

    def handle(self, *args: Any, **options: Any) -> None:
        actor = person(options["user"]).get_username() if options["user"] else history.COMMAND_LINE
        with refusals():
            if options["action"] == "start":
                self._start(options)
                return
            rollout = rollouts.find(options["version"])
            if options["action"] == "status":
                self._show(rollout)
            elif options["action"] == "pause":
                withdrawn = rollouts.pause(rollout, actor=actor)
                self.stdout.write(f"The rollout of {rollout.release} is paused; {withdrawn} offer(s) withdrawn")
            elif options["action"] == "resume":
                excused = rollouts.resume(rollout, actor=actor)
                self.stdout.write(f"The rollout of {rollout.release} goes on; {excused} failure(s) excused")
            else:
                left = rollouts.abort(rollout, actor=actor)
                self.stdout.write(f"The rollout of {rollout.release} is aborted; {left} Instance(s) left as they are")

    def _start(self, options: dict[str, Any]) -> None:
        institution = None
        if options["institution"]:
            institution = Institution.objects.present().filter(name=options["institution"]).first()
            if institution is None:
                raise CommandError(f"There is no institution {options['institution']!r}.")
        plan = rollouts.Plan(
            waves=options["waves"],
            gate=options["gate"],
            soak_seconds=options["soak"],
            max_failures=options["max_failures"],
            institution=institution,
            participant_type=options["type"],
            from_version=options["from_version"],
            in_outages=options["in_outages"],
        )
        rollout = rollouts.start(releases.find(options["version"]), plan, person(options["user"]))
        sizes = ", ".join(str(wave.size) for wave in rollout.waves.all())
        self.stdout.write(
            f"The rollout of {rollout.release} runs, for {rollout.size} Instance(s) in waves of {sizes}"
        )

    def _show(self, rollout: Rollout) -> None:
        waves = progress.of_waves(rollout)
        why = f" ({rollout.reason})" if rollout.reason else ""
        self.stdout.write(f"{rollout.release} {rollout.state}{why}")
        self.stdout.write(", ".join(f"{count} {state}" for state, count in progress.per_state(waves)))
        held = progress.held(rollout)
        if held:
            self.stdout.write(f"{held} held by an outage")
        self._table(
            ("wave", "share", "targets", "succeeded", "failed", "under way", "waiting", "left out", "gate"),
            [
                (
                    str(each.wave.number),
                    f"{each.wave.share} %",
                    *(str(n) for n in (each.wave.size, each.succeeded, each.failed, each.under_way)),
                    *(str(n) for n in (each.waiting, each.left_out)),
                    "met" if each.wave.gate_met_at else "open" if each.wave.opened_at else "closed",
                )
                for each in waves
            ],
        )
        targets = rollout.targets.select_related("participant", "wave").order_by("wave__number", "participant__name")
        self._table(
            ("Instance", "wave", "state", "reason"),
            [
                (each.participant.name, str(each.wave.number), each.state, each.reason)
                for each in targets[:MOST_LISTED]
            ],
        )
        if rollout.size > MOST_LISTED:
            self.stdout.write(f"… and {rollout.size - MOST_LISTED} more")
        self.stdout.write(f"at {timezone.localtime():%Y-%m-%d %H:%M:%S}")

    def _table(self, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
        self.stdout.write("")
        for row in (head, *rows):
            self.stdout.write("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())

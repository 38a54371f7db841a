"""What Core does to bring a release to the Instances, each step a command that an operator would run."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import manifest, staff
from demo.command import Refused, agent_release, manage
from demo.environment import plain
from demo.place import Place
from demo.staff import Person

SOAK_SECONDS = 3


@dataclass(frozen=True)
class Draft:
    """A manifest that was written, and its two signatures."""

    version: str
    manifest: Path
    signatures: list[Path]


class Core:
    """`author` and `approver` once `gather` has been called."""

    author: Person
    approver: Person

    def __init__(self, place: Place) -> None:
        self.place = place
        self.folder = place.folder / "core"
        self.folder.mkdir(exist_ok=True, mode=0o700)
        self._under_way = self.folder / "rollout"  # the version of a rollout that has not ended

    @property
    def people(self) -> tuple[Person, Person]:
        return self.author, self.approver

    def gather(self) -> None:
        """Both people, and an end to the rollout in which an earlier run was stopped. Raises DemoError, Refused."""
        self.author, self.approver = (staff.ensure(role, self.folder, self.place) for role in staff.ROLES)
        if self._under_way.exists():
            with contextlib.suppress(Refused):  # the data doesn't know it, or it was withdrawn already
                self.withdraw(self._under_way.read_text().strip())
            self._under_way.unlink(missing_ok=True)

    def next_release(self, installed: Iterable[tuple[str, int]]) -> tuple[str, int]:
        """Version and sequence above all that the server knows, and above what is `installed`."""
        listed = [line.split() for line in self._manage("release", "list").splitlines()]
        known = [(version, int(sequence)) for version, sequence, *_ in listed] + list(installed)
        return manifest.next_version(version for version, _ in known), max(sequence for _, sequence in known) + 1

    def write(self, content: dict[str, Any]) -> Draft:
        """Writes the manifest down; both sign it."""
        path = self.folder / f"{content['version']}.json"
        path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        signatures = []
        for person in self.people:
            signatures.append(path.with_name(f"{content['version']}.{person.key.stem}.sig"))
            signatures[-1].write_text(agent_release(plain(), "sign", str(path), "--key", str(person.key)) + "\n")
        return Draft(content["version"], path, signatures)

    def import_draft(self, draft: Draft) -> str:
        files = [str(path) for path in draft.signatures]
        return self._manage(
            "release", "import", str(draft.manifest), "--signature", *files, "--user", self.author.name
        )

    def approve(self, version: str, person: Person) -> str:
        return self._manage("release", "approve", version, "--user", person.name)

    def publish(self, version: str) -> str:
        return self._manage("release", "publish", version, "--user", self.approver.name)

    def withdraw(self, version: str) -> str:
        said = self._manage("release", "withdraw", version, "--user", self.approver.name)
        self._under_way.unlink(missing_ok=True)
        return said

    def start_rollout(self, version: str, from_version: str) -> str:
        """To those that run `from_version` (all of them, where it is empty): a third of them first, then the rest."""
        self._under_way.write_text(version)
        only = ["--from-version", from_version] if from_version else []
        rules = ["--waves", "34,100", "--gate", "1.0", "--soak", str(SOAK_SECONDS), "--max-failures", "0"]
        return self._manage("rollout", "start", version, *rules, *only, "--user", self.approver.name)

    def status(self, version: str) -> list[str]:
        """What `rollout status` shows: state and reason, counts per state, tables."""
        return self._manage("rollout", "status", version).splitlines()

    def ended(self) -> None:
        """The rollout that was started has ended."""
        self._under_way.unlink(missing_ok=True)

    def _manage(self, *arguments: str) -> str:
        return manage(self.place.environment, *arguments)

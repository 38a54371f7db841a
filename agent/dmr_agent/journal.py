"""What the agent must not forget, in `state_dir`: `journal.json`, and `lock`, which keeps a second agent out.

Every save is whole or not there at all: a temporary file is written and synced, renamed over the old one, and
the folder synced. So a kill at any moment leaves the state before a step or the state after it.

    {"schema": 1,
     "sequence": 41,            the last number used for a check-in or a report
     "highest": 12,             the highest manifest sequence that was installed successfully
     "installed": null | {"manifest": {…}, "digest": "sha256:…", "intact": true},
     "installation": null | {…}, see Installation
     "outbox": [report, …],     not yet taken by the server, oldest first
     "answered": [report, …]}   the last report for each offer that came to its end
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dmr_agent import canonical
from dmr_agent.errors import AgentError
from dmr_agent.manifest import Manifest, ManifestInvalid, parse

ANSWERED_KEPT = 100

Report = dict[str, Any]


class JournalUnusable(AgentError):
    """The journal can't be read or written. Going on without it would forget what was installed."""

    exit_code = 4


class StateDirInUse(AgentError):
    """Another agent runs on the same state_dir."""

    exit_code = 3


@dataclass
class Installed:
    """What the Instance runs, as far as this agent brought it there or was told by `initial_manifest`."""

    manifest: Manifest
    intact: bool = True  # false after an undo that failed: then nobody knows what runs

    def to_json(self) -> dict[str, Any]:
        return {"manifest": self.manifest.content, "digest": self.manifest.digest, "intact": self.intact}


@dataclass
class Installation:
    """The offer under way, and how far it is (`state`: accepted installing verifying undoing)."""

    target: str | int
    nonce: str
    deadline: str  # ISO 8601
    manifest: Manifest
    state: str = "accepted"
    is_present: bool = False  # the offered release is the one installed: verify it, run no installer
    process: dict[str, Any] | None = None  # process.Identity of the command that was started last
    reason: str = ""  # why it is being undone
    steps: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "manifest": self.manifest.content}

    def is_of(self, report: Report) -> bool:
        return (self.target, self.nonce) == (report["target"], report["nonce"])


@dataclass
class Journal:
    path: Path
    sequence: int = 0
    highest: int = 0
    installed: Installed | None = None
    installation: Installation | None = None
    outbox: list[Report] = field(default_factory=list)
    answered: list[Report] = field(default_factory=list)

    @classmethod
    def load(cls, state_dir: Path, initial: Manifest | None) -> Journal:
        """The journal in `state_dir`, or a new one that starts with `initial` as what is installed."""
        path = state_dir / "journal.json"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            journal = cls(path)
            if initial:
                journal.installed, journal.highest = Installed(initial), initial.sequence
            return journal
        except OSError as error:
            raise JournalUnusable(f"can't read {path}: {error.strerror}") from error
        try:
            return cls._from_json(path, canonical.loads(content))
        except (canonical.NotJson, ManifestInvalid, KeyError, TypeError, ValueError, AttributeError) as error:
            raise JournalUnusable(f"{path} is damaged ({error!r}), see docs/agent.md") from error

    @classmethod
    def _from_json(cls, path: Path, value: dict[str, Any]) -> Journal:
        if value["schema"] != 1:
            raise ValueError("schema must be 1")
        installed, installation = value["installed"], value["installation"]
        return cls(
            path,
            sequence=int(value["sequence"]),
            highest=int(value["highest"]),
            installed=installed and Installed(_manifest(installed["manifest"]), bool(installed["intact"])),
            installation=installation
            and Installation(**{**installation, "manifest": _manifest(installation["manifest"])}),
            outbox=list(value["outbox"]),
            answered=list(value["answered"]),
        )

    def save(self) -> None:
        content = json.dumps(
            {
                "schema": 1,
                "sequence": self.sequence,
                "highest": self.highest,
                "installed": self.installed and self.installed.to_json(),
                "installation": self.installation and self.installation.to_json(),
                "outbox": self.outbox,
                "answered": self.answered,
            },
            indent=1,
        )
        try:
            _replace(self.path, content.encode("ascii"))
        except OSError as error:
            raise JournalUnusable(f"can't write {self.path}: {error.strerror}") from error

    def take_sequence(self) -> int:
        """The next number of this agent's calls, on disk before it is used."""
        self.sequence += 1
        self.save()
        return self.sequence

    def add_report(
        self, target: str | int, nonce: str, state: str, detail: str, steps: list[dict[str, Any]]
    ) -> Report:
        """Put a report into the outbox. The caller saves, together with the state that the report tells."""
        self.sequence += 1
        report = {
            "target": target,
            "nonce": nonce,
            "sequence": self.sequence,
            "state": state,
            "detail": detail,
            "steps": [dict(step) for step in steps],
        }
        self.outbox.append(report)
        return report

    def add_answer(self, report: Report) -> None:
        """Remember how an offer ended. The caller saves."""
        self.answered = [*self.answered, report][-ANSWERED_KEPT:]

    def answer_to(self, target: str | int, nonce: str) -> Report | None:
        found = (one for one in self.answered if one["target"] == target and one["nonce"] == nonce)
        return next(found, None)


class Lock:
    """Held until closed or the process ends, however it ends. Raises StateDirInUse, JournalUnusable."""

    def __init__(self, state_dir: Path) -> None:
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = open(state_dir / "lock", "ab")  # noqa: SIM115 - held, not used
        except OSError as error:
            raise JournalUnusable(f"can't use state_dir {state_dir}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise StateDirInUse(f"another dmr-agent uses {state_dir}") from error

    def close(self) -> None:
        self._file.close()


def _manifest(content: dict[str, Any]) -> Manifest:
    return parse(canonical.dumps(content))


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".new")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

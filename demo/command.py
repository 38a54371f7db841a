"""The product's commands, as an operator runs them: `manage.py …` and `dmr-agent …`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from demo.children import ROOT
from demo.errors import DemoError, Unexpected

SECONDS = 60
AGENT = str(Path(sys.executable).parent / "dmr-agent")


class Refused(Unexpected):
    """The command ended with 1; `reason` is its one line."""

    def __init__(self, command: str, reason: str) -> None:
        super().__init__(f"`{command}` to be taken", reason)
        self.reason = reason


def manage(environment: Mapping[str, str], *arguments: str) -> str:
    """What `manage.py` printed, in the server's environment. Raises Refused, DemoError."""
    return _run([sys.executable, "manage.py", *arguments], environment)


def agent_release(environment: Mapping[str, str], *arguments: str) -> str:
    """What `dmr-agent release` printed. Raises Refused, DemoError."""
    return _run([AGENT, "release", *arguments], environment)


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=SECONDS, check=False,
        )  # fmt: skip
    except (subprocess.SubprocessError, OSError) as error:
        raise DemoError(f"{' '.join(command[1:4])} could not be run: {error}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1].removeprefix("CommandError: ") if lines else f"it ended with {done.returncode}"
        raise Refused(" ".join(command[1:]), reason)
    return done.stdout.strip()

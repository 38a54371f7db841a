"""One call of a local command that answers shortly, such as a health check. Time and size are limited."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from pathlib import Path

from dmr_agent.errors import AgentError

OUTPUT_LIMIT = 1 << 20  # bytes


class NoAnswer(AgentError):
    """The command could not be started or took too long."""


def call(argv: list[str], *, folder: Path, timeout: float) -> tuple[int, bytes]:
    """Run to the end → (exit status, the first MiB of standard output). Raises NoAnswer."""
    # A file and not a pipe: output without end then costs no memory, and a child left behind holds nobody up.
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise NoAnswer(f"can't start {argv[0]}: {error}") from error
        try:
            status = process.wait(timeout)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise NoAnswer(f"{argv[0]} took longer than {timeout:g} s") from error
            raise
        output.seek(0)
        return status, output.read(OUTPUT_LIMIT)

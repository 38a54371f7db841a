"""An installer or undo command, run so that no kill of the agent leaves one running that nobody knows of.

1. A shell is started in a session of its own and waits for a line on its standard input.
2. The caller writes the shell's identity into the journal.
3. The caller opens the gate; the shell becomes the command. Had the agent died before, the shell reads the
   end of its input and ends without having run anything.

An identity is the process id with the process's start time and the machine's boot, so that another process
that got the same id later is never taken for it. Where there is no /proc, a command that outlived its agent
can't be recognised and is left alone.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from dmr_agent.errors import AgentError

PROC = Path("/proc")
GATE = 'read -r open && exec "$@" <"$0"'
LOG_LIMIT = 16 << 20  # bytes of a command's output that are kept at most
KILL_GRACE_SECONDS = 3.0
TOKEN = "DMR_RUN"


class CommandFailed(AgentError):
    """The command could not even be started."""


@dataclass(frozen=True)
class Identity:
    pid: int
    started: int | None  # clock ticks after boot
    boot: str | None
    token: str  # in the environment of the command and of what it starts


class Command:
    """A command behind its gate. Its output is appended to `log_path`, its input is the file `input_path`."""

    def __init__(
        self, argv: list[str], *, folder: Path, input_path: Path, log_path: Path, environment: dict[str, str]
    ) -> None:
        token = secrets.token_hex(16)
        try:
            log_path.unlink(missing_ok=True)
            self._output = log_path.open("a+b")
            try:
                self._popen = subprocess.Popen(
                    ["/bin/sh", "-c", GATE, str(input_path), *argv],
                    stdin=subprocess.PIPE,
                    stdout=self._output,
                    stderr=self._output,
                    cwd=folder,
                    env={**os.environ, **environment, TOKEN: token},
                    start_new_session=True,
                )
            except BaseException:
                self._output.close()
                raise
        except OSError as error:
            raise CommandFailed(f"can't start {argv[0]}: {error.strerror}") from error
        stat = _stat(self._popen.pid)
        self.identity = Identity(self._popen.pid, stat.started if stat else None, _boot(), token)

    def open_gate(self) -> None:
        assert self._popen.stdin
        try:
            self._popen.stdin.write(b"go\n")
            self._popen.stdin.close()
        except BrokenPipeError:
            pass  # somebody killed the shell: poll() tells

    def abandon(self) -> None:
        """Close the gate for good: nothing has run."""
        assert self._popen.stdin
        self._popen.stdin.close()
        self._popen.wait()

    def poll(self) -> int | None:
        """The exit status, negative for a signal, None while it runs."""
        if os.fstat(self._output.fileno()).st_size > LOG_LIMIT:
            os.ftruncate(self._output.fileno(), 0)  # opened for appending: the command goes on at the new end
        return self._popen.poll()

    def stop(self) -> None:
        """End the command and what it started in its session, gently, then not."""
        if self._popen.returncode is None and not _has_proc():
            for number in (signal.SIGTERM, signal.SIGKILL):
                os.killpg(self.identity.pid, number)
                try:
                    self._popen.wait(KILL_GRACE_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    continue
        stop(self.identity)
        self._popen.wait()

    def close(self) -> None:
        self._output.close()

    def last_line(self) -> str:
        """The last line of output that is not empty, for people."""
        self._output.seek(max(0, os.fstat(self._output.fileno()).st_size - 4096))
        lines = self._output.read(4096).decode("utf-8", "replace").strip().splitlines()
        return lines[-1].strip() if lines else ""


def stop(identity: Identity) -> bool:
    """End what is left of a command's process group. Returns whether anything was."""
    if not members(identity):
        return False
    for number, patience in ((signal.SIGTERM, KILL_GRACE_SECONDS), (signal.SIGKILL, 2.0)):
        try:
            os.killpg(identity.pid, number)
        except ProcessLookupError:
            return True
        until = time.monotonic() + patience
        while members(identity):
            if time.monotonic() > until:
                break
            time.sleep(0.02)
        else:
            return True
    return True


def members(identity: Identity) -> list[int]:
    """The living processes of the command's group; none if its id is somebody else's by now."""
    if identity.started is None or not _has_proc() or identity.boot != _boot():
        return []
    leader = _stat(identity.pid)
    if leader and leader.started != identity.started:
        return []
    found = []
    for entry in PROC.iterdir():
        stat = _stat(int(entry.name)) if entry.name.isdigit() else None
        if stat is None or not stat.is_alive or stat.group != identity.pid:
            continue
        # Without its leader the group's number alone proves nothing: look for our mark.
        if leader or _is_marked(entry, identity.token):
            found.append(int(entry.name))
    return found


@dataclass(frozen=True)
class _Stat:
    is_alive: bool
    group: int
    started: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = (PROC / str(pid) / "stat").read_text("ascii", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # after the name, which may hold anything
    return _Stat(fields[0] not in "ZXx", int(fields[2]), int(fields[19]))


def _is_marked(entry: Path, token: str) -> bool:
    try:
        return f"{TOKEN}={token}".encode() in (entry / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _has_proc() -> bool:
    return (PROC / "self" / "stat").exists()


def _boot() -> str | None:
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return None

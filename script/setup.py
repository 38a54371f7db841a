"""Makes .venv as the requirements say, then becomes the program that was asked for.

usage: setup.py product|dev MODULE [ARGUMENT...]

Run by the machine's own Python with its standard library only. `product` installs requirements.txt, `dev`
requirements-dev.txt (which includes it), and both the agent beside them. What is installed stands in
.venv/set-up.json: removed before .venv is touched, written when all is done, so that a set-up that was
interrupted is known by the file's absence and .venv is made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STATE = VENV / "set-up.json"
LOCK = ROOT / ".venv.lock"
LOG = ROOT / ".venv.log"
AGENT = ROOT / "agent"

REQUIREMENTS = {"product": "requirements.txt", "dev": "requirements-dev.txt"}

NETWORK = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|Read timed out"
    r"|Connection (refused|reset|aborted)|Failed to establish a new connection"
    r"|Name or service not known|name resolution|Network is unreachable"
    r"|SSLError|ProxyError|Cannot connect to proxy|RemoteDisconnected"
)
CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED")
LEAST_FREE = 20_000_000  # bytes; what is left when a set-up fails for want of room
DISK = re.compile(r"No space left on device|Read-only file system|Disk quota exceeded|Permission denied")


class SetupFailed(Exception):
    """Set-up can't go on; the text is the one line that the user sees."""


def digest(*parts: str | Path) -> str:
    """SHA-256 over texts and the contents of files; a file that isn't there counts as such."""
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            content = part.read_bytes() if part.is_file() else b"-"
        else:
            content = part.encode("utf-8", "surrogateescape")
        sha.update(b"%d:" % len(content) + content)
    return sha.hexdigest()


def wanted(kind: str) -> dict[str, str]:
    """The state that `kind` asks for: a key a fact, each with the digest of what it depends on."""
    python = f"{sys.implementation.cache_tag} {platform.machine()}"
    product = [ROOT / "requirements.txt", AGENT / "pyproject.toml"]
    # A venv holds absolute paths: one that was moved or copied with its folder isn't this folder's.
    state = {"venv": digest(str(ROOT), python), "product": digest(*product)}
    if kind == "dev":
        state["dev"] = digest(*product, ROOT / "requirements-dev.txt")
    return state


def installed() -> dict[str, str]:
    """The state that the last finished set-up left; empty when there is none, or it was interrupted."""
    if not PYTHON.exists():
        return {}
    try:
        state = json.loads(STATE.read_text())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def is_done(kind: str) -> bool:
    return wanted(kind).items() <= installed().items()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def set_up(kind: str) -> None:
    """Brings .venv to what `kind` needs, one process at a time; raises SetupFailed."""
    if is_done(kind):
        return
    try:
        lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise SetupFailed(
            f"Can't write in {ROOT} ({error.strerror}): make the folder writable and try again."
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Setting up: another set-up of this folder is running, waiting for it to finish.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_done(kind):
            install(kind, lock)
    finally:
        os.close(lock)


def install(kind: str, lock: int) -> None:
    began = time.monotonic()
    before, after = installed(), wanted(kind)
    STATE.unlink(missing_ok=True)
    LOG.write_bytes(b"")
    if before.get("venv") != after["venv"]:
        before = {}
        make_venv(lock)
    duration = "some seconds" if before else "about a minute"
    say(f"Setting up: installing what {REQUIREMENTS[kind]} lists ({duration}).")
    # pip asks again and again for minutes when nothing answers. Who has set this for himself is left alone.
    command = [str(PYTHON), "-I", "-m", "pip", "config", "list"]
    chosen = subprocess.run(command, check=False, capture_output=True, text=True)
    patience = {} if "retries" in chosen.stdout else {"PIP_RETRIES": "2"}
    pip(["-r", REQUIREMENTS[kind]], lock, patience)
    if (AGENT / "pyproject.toml").is_file():
        pip(["--no-deps", "-e", "./agent"], lock, patience)
    partial = STATE.with_suffix(".part")
    partial.write_text(json.dumps(after))
    partial.replace(STATE)
    say(f"Setting up: done in {time.monotonic() - began:.0f} s.")


def make_venv(lock: int) -> None:
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise SetupFailed(
            f"This Python ({sys.executable}) lacks the venv module: install the package python3-venv "
            f"(on Debian and Ubuntu: apt-get install python3-venv) and try again."
        )
    say("Setting up: making .venv.")
    if VENV.is_symlink():
        VENV.unlink()
    elif VENV.exists():
        shutil.rmtree(VENV)
    run([sys.executable, "-I", "-m", "venv", str(VENV)], lock, {}, "making .venv")


def pip(arguments: list[str], lock: int, patience: dict[str, str]) -> None:
    # PIP_USER: whatever the user's configuration says, what is installed here belongs in .venv.
    options = ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    command = [str(PYTHON), "-I", "-m", "pip", "install", *options, *arguments]
    run(command, lock, {**patience, "PIP_USER": "0"}, "installing packages")


def run(command: list[str], lock: int, environment: dict[str, str], doing: str) -> None:
    """Runs a command with its output in the log.

    The command inherits the lock: should this process be killed, the next set-up waits for it to end.
    """
    with LOG.open("ab") as log:
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
        )
        try:
            status = child.wait()
        except BaseException:
            child.terminate()
            child.wait()
            raise
    if status:
        raise SetupFailed(f"Setting up failed while {doing}: {reason()} (details: {LOG})")


def reason() -> str:
    """What the log says went wrong, and what to do about it, in one line."""
    text = LOG.read_text(errors="replace")
    # With a full disk not even the log could be written.
    if DISK.search(text) or shutil.disk_usage(ROOT).free < LEAST_FREE:
        return "the disk is full or not writable: make room, or make the folder writable, and try again"
    if CERTIFICATE.search(text):
        return "pip doesn't trust the package index's certificate: check `pip config list` and try again"
    if NETWORK.search(text):
        return "pip can't reach the package index: check the network and `pip config list` and try again"
    errors = [line for line in text.splitlines() if line.startswith(("ERROR:", "error:", "Error:"))]
    return errors[-1].partition(":")[2].strip() if errors else "see the log"


def stop(signal_number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + signal_number)


def main() -> NoReturn:
    kind, module, *arguments = sys.argv[1:]
    before = signal.signal(signal.SIGTERM, stop)
    try:
        set_up(kind)
    except SetupFailed as failure:
        sys.exit(str(failure))
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        sys.exit(f"Setting up failed: {error}: make sure that {ROOT} can be written and has room, and try again.")
    signal.signal(signal.SIGTERM, before)
    os.chdir(ROOT)
    # exec, so that a signal reaches the program itself.
    os.execv(PYTHON, [str(PYTHON), "-m", module, *arguments])


if __name__ == "__main__":
    main()

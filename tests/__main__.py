"""The whole test run: lint, types, import directions, and pytest on both kinds of database. See script/test.

script/test                  everything but the slow tests
script/test --slow           the tests marked slow, and how much of the code the others cover
script/test ARGUMENT...      pytest with these arguments, on both kinds of database, nothing else

PostgreSQL and Redis are those of TEST_DATABASE_URL and TEST_REDIS_URL, else started for the run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from tests.servers import ServerFailed, running

PROGRAMS = Path(sys.executable).parent
GIVEN = {"postgres": "TEST_DATABASE_URL", "redis": "TEST_REDIS_URL"}
NO_TESTS = 5  # pytest's exit status
STOP_SECONDS = 10

LINT = {
    "ruff check": ["ruff", "check"],
    "ruff format": ["ruff", "format", "--check"],
    "mypy": ["mypy"],
    "import-linter": ["lint-imports"],
}
PYTEST = ["pytest", "-n", "2", "--dist", "worksteal"]
# Measuring slows a run by a third, so it is one of its own, with what takes long; and so is checking the floor.
COVERAGE = ["--cov", "--cov-branch", "--cov-report=", "--cov-fail-under=0"]
# What would be the same on both kinds of database runs once; see tests/conftest.py.
DATABASE_ONLY = "--database-only"


class Run:
    """Steps one after the other, each a program; remembers which failed."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.child: subprocess.Popen[bytes] | None = None

    def step(
        self, name: str, command: list[str], environment: dict[str, str], passing: tuple[int, ...] = (0,)
    ) -> int:
        print(f"\n== {name}", flush=True)
        began = time.monotonic()
        # A session of its own, so that all of it can be stopped.
        self.child = subprocess.Popen(
            [str(PROGRAMS / command[0]), *command[1:]], env=environment, start_new_session=True
        )
        try:
            status = self.child.wait()
        except BaseException:
            self.stop(self.child)
            raise
        if status not in passing:
            self.failed.append(name)
        outcome = "passed" if status in passing else f"FAILED (exit status {status})"
        print(f"-- {name}: {outcome} in {time.monotonic() - began:.1f} s", flush=True)
        return status

    def stop(self, child: subprocess.Popen[bytes]) -> None:
        """Stops a step: as Ctrl-C would, so that fixtures tear down, then by force."""
        try:
            signal_group(child, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(STOP_SECONDS)
        finally:
            signal_group(child, signal.SIGKILL)
            child.wait()


def signal_group(leader: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, number)


@contextlib.contextmanager
def servers() -> Iterator[dict[str, str]]:
    """The URLs of PostgreSQL and Redis by variable name: those given, the others started."""
    given = {name: os.environ[name] for name in GIVEN.values() if os.environ.get(name)}
    missing = [kind for kind, name in GIVEN.items() if name not in given]
    with running(*missing) as urls:
        yield given | {GIVEN[kind]: url for kind, url in urls.items()}


def clean_environment() -> dict[str, str]:
    """Ours without what would change the product's settings: tests say what they need."""
    product = ("DMR_", "DATABASE_URL", "REDIS_URL")
    return {name: value for name, value in os.environ.items() if not name.startswith(product)}


def run_all(run: Run, arguments: list[str]) -> None:
    slow = "--slow" in arguments
    arguments = [argument for argument in arguments if argument != "--slow"]
    whole = not slow and not arguments
    fast = [*PYTEST, "-m", "not slow"]
    pytest = [*PYTEST, "-m", "slow", *arguments] if slow else [*fast, *arguments]
    passing = (0, NO_TESTS) if slow else (0,)
    environment = clean_environment()
    if whole:
        for name, command in LINT.items():
            run.step(name, command, environment)
    with servers() as urls:
        environment |= urls
        real = {"DATABASE_URL": urls["TEST_DATABASE_URL"], "REDIS_URL": urls["TEST_REDIS_URL"]}
        postgres = [*pytest, DATABASE_ONLY] if whole or slow else pytest
        for name, command, more in (
            ("pytest on SQLite and the embedded broker", pytest, {}),
            ("pytest on PostgreSQL and Redis", postgres, real),
        ):
            if run.step(name, command, environment | more, passing) == NO_TESTS and slow:
                print("No test is marked slow: nothing to run.", flush=True)
        if slow and not arguments:
            run.step("pytest, measuring coverage", [*fast, *COVERAGE], environment)
    if slow and not arguments:
        run.step("coverage", ["coverage", "report", "--skip-covered"], environment)


def end(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> int:
    signal.signal(signal.SIGTERM, end)
    # A shell starts what it puts in the background with SIGINT ignored, and every child would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    run = Run()
    try:
        run_all(run, sys.argv[1:])
    except ServerFailed as failure:
        run.failed.append(f"the test servers ({failure})")
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    seconds = f"{time.monotonic() - began:.0f} s"
    if run.failed:
        print(f"\nFAILED in {seconds}: {', '.join(run.failed)}")
        return 1
    print(f"\nAll passed in {seconds}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

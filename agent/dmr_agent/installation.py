"""Carrying an offer out: install, verify, or undo. Each step is in the journal before it is taken.

What a start finds in the journal (the agent was killed, or stopped by SIGTERM), and what it does:

| state      | command started | done at the next start                                                    |
|------------|-----------------|---------------------------------------------------------------------------|
| (none)     | -               | nothing: no offer was under way                                           |
| accepted   | -               | wait for the server to know it; install, unless the deadline has passed    |
| installing | no              | run the installer: it never began                                         |
| installing | yes             | end what is left of the installer, run the undo command, `rolled_back`    |
| verifying  | -               | verify again from the beginning (grace and soak)                          |
| undoing    | either          | end what is left of the undo command, run it (again), `rolled_back`       |

So installers may be cut off anywhere, and the undo command may be run more than once: it must bear both.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict

from dmr_agent import health, log, offer, process
from dmr_agent.config import Config
from dmr_agent.journal import Installation, Installed, Journal, JournalUnusable
from dmr_agent.manifest import Manifest
from dmr_agent.stop import Stop

POLL_SECONDS = 0.1
DETAIL_LIMIT = 500
FINAL = ("succeeded", "failed", "rolled_back")


class StepFailed(Exception):
    """A step of the installation went wrong; the text says how."""


class Carrier:
    """Takes offers and brings each to its end.

    `between` is called often while something runs (heartbeats), `tell` when there is something to report.
    """

    def __init__(
        self,
        settings: Config,
        journal: Journal,
        stop: Stop,
        between: Callable[[], None],
        tell: Callable[[], None],
    ) -> None:
        self._settings, self._journal, self._stop = settings, journal, stop
        self._between, self._tell = between, tell
        self.last_outcome: str | None = None  # a final state, of the last offer

    def consider(self, content: object) -> None:
        """Accept an offer, or refuse it, in the journal and the outbox; runs nothing."""
        try:
            offered = offer.read(content)
        except offer.OfferMalformed as error:
            log.warn("offer_malformed", reason=error)
            self.last_outcome = "failed"
            return
        if report := self._journal.answer_to(offered.target, offered.nonce):
            # Never twice. The server seems not to know how it ended: say the same again.
            log.warn("offer_repeated", target=offered.target, state=report["state"])
            if report not in self._journal.outbox:
                self._journal.outbox.append(report)
                self._journal.save()
                self._tell()
            return
        began = time.monotonic()
        try:
            manifest = offer.verify(offered, self._settings, self._journal, offer.now())
        except offer.OfferRefused as error:
            log.warn("offer_refused", target=offered.target, reason=error)
            steps = [_step("verify", False, began)]
            self._finish(offered.target, offered.nonce, "failed", f"refused: {error}", steps)
            return
        log.event("offer_accepted", target=offered.target, version=manifest.version, digest=manifest.digest)
        installed = self._journal.installed
        current = Installation(offered.target, offered.nonce, offered.deadline, manifest)
        current.is_present = bool(installed and installed.intact and installed.manifest.digest == manifest.digest)
        current.steps.append(_step("verify", True, began))
        self._journal.installation = current
        self._enter(current, "accepted")

    def carry_out(self) -> None:
        """Bring the installation in the journal to its end, from wherever it is."""
        current = self._journal.installation
        assert current
        log.event("carrying_out", target=current.target, state=current.state)
        try:
            if current.state in ("accepted", "installing"):
                self._install(current)
            if current.state == "verifying":
                self._verify(current)
        except StepFailed as error:
            self._begin_undo(current, str(error))
        if current.state == "undoing":
            self._undo(current)

    def give_up_if_late(self) -> None:
        """An acceptance that the server did not hear of before the deadline is void."""
        current = self._journal.installation
        if current and current.state == "accepted" and offer.is_past(current.deadline, offer.now()):
            self._end(current, "failed", f"refused: the deadline {current.deadline} has passed")

    def _install(self, current: Installation) -> None:
        if current.process:
            if process.stop(process.Identity(**current.process)):
                log.warn("orphan_ended", pid=current.process["pid"])
            current.steps.append({"name": "install", "state": "failed", "seconds": 0})
            raise StepFailed("the agent was interrupted while the installer ran")
        if current.state == "accepted":
            detail = "already installed: no installer is run" if current.is_present else ""
            self._enter(current, "installing", detail)
        if not current.is_present:
            self._run(current, "install", self._settings.install, self._settings.install_timeout_seconds)
        current.process = None
        self._enter(current, "verifying")

    def _verify(self, current: Installation) -> None:
        began = time.monotonic()
        try:
            self._await_health()
            until = time.monotonic() + self._settings.soak_seconds
            while (left := until - time.monotonic()) > 0:
                self._wait(min(self._settings.health_interval_seconds, left))
                found = self._health()
                if not found.is_ok:
                    raise StepFailed(f"unhealthy during the soak time: {found.detail}")
        except StepFailed:
            current.steps.append(_step("health", False, began))
            raise
        current.steps.append(_step("health", True, began))
        self._journal.installed = Installed(current.manifest)
        self._journal.highest = max(self._journal.highest, current.manifest.sequence)
        self._end(current, "succeeded", "")

    def _begin_undo(self, current: Installation, reason: str) -> None:
        log.warn("installation_failed", target=current.target, reason=reason)
        current.reason, current.process = reason, None
        if current.is_present:
            self._end(current, "failed", f"already installed, and {reason}")  # nothing was changed: nothing to undo
            return
        current.state = "undoing"
        self._journal.save()

    def _undo(self, current: Installation) -> None:
        if current.process and process.stop(process.Identity(**current.process)):
            log.warn("orphan_ended", pid=current.process["pid"])
        try:
            self._run(current, "undo", self._settings.undo, self._settings.undo_timeout_seconds)
            self._check_undone(current)
        except StepFailed as error:
            state, detail = "failed", f"{current.reason}; and the undo failed: {error}"
        else:
            state, detail = "rolled_back", current.reason
        if self._journal.installed:
            self._journal.installed.intact = state == "rolled_back"
        self._end(current, state, detail)

    def _check_undone(self, current: Installation) -> None:
        began = time.monotonic()
        try:
            self._await_health()
        except StepFailed:
            current.steps.append(_step("health_after_undo", False, began))
            raise
        current.steps.append(_step("health_after_undo", True, began))

    def _run(self, current: Installation, name: str, argv: list[str], timeout: float) -> None:
        """Run a command to its end. Raises StepFailed unless it ends in time with status 0."""
        previous = self._journal.installed.manifest if self._journal.installed else None
        began = time.monotonic()
        try:
            command = self._start(current, name, argv, previous)
        except process.CommandFailed as error:
            current.steps.append(_step(name, False, began))
            raise StepFailed(str(error)) from error
        try:
            while (status := command.poll()) is None:
                if time.monotonic() - began > timeout:
                    command.stop()
                    raise StepFailed(f"the {name} command took longer than {timeout:g} s and was ended")
                self._wait(POLL_SECONDS)
            if status != 0:
                command.stop()  # what it left running must not race with what comes next
                line = command.last_line()
                said = f": {line}" if line else ""
                raise StepFailed(f"the {name} command ended with status {status}{said}")
        except StepFailed:
            current.steps.append(_step(name, False, began))
            raise
        except BaseException:
            command.stop()  # we are ending: the next start undoes it
            raise
        finally:
            command.close()
        current.steps.append(_step(name, True, began))

    def _start(self, current: Installation, name: str, argv: list[str], previous: Manifest | None) -> process.Command:
        given = current.manifest if name == "install" else previous
        input_path = self._settings.state_dir / f"{name}.json"
        try:
            input_path.write_bytes(given.canonical if given else json.dumps(None).encode())
            command = process.Command(
                argv,
                folder=self._settings.folder,
                input_path=input_path,
                log_path=self._settings.state_dir / f"{name}.log",
                environment={
                    "DMR_ACTION": name,
                    "DMR_VERSION": current.manifest.version,
                    "DMR_PREVIOUS_VERSION": previous.version if previous else "",
                },
            )
        except OSError as error:
            raise JournalUnusable(f"can't write to state_dir: {error}") from error
        current.process = asdict(command.identity)
        try:
            self._journal.save()
        except BaseException:
            command.abandon()
            command.close()
            raise
        command.open_gate()
        log.event("command_started", name=name, pid=command.identity.pid, version=current.manifest.version)
        return command

    def _await_health(self) -> None:
        until = time.monotonic() + self._settings.start_grace_seconds
        while not (found := self._health()).is_ok:
            if time.monotonic() >= until:
                grace = self._settings.start_grace_seconds
                raise StepFailed(f"not healthy within {grace:g} s: {found.detail}")
            self._wait(min(self._settings.health_interval_seconds, max(0.01, until - time.monotonic())))

    def _health(self) -> health.Health:
        with self._stop.interruptible():
            return health.check(self._settings)

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        self._between()
        while (left := until - time.monotonic()) > 0:
            self._stop.sleep(min(left, POLL_SECONDS))
            self._between()

    def _enter(self, current: Installation, state: str, detail: str = "") -> None:
        """The state and its report in one save; then try to tell the server."""
        current.state = state
        log.event("installation_state", target=current.target, state=state)
        self._journal.add_report(current.target, current.nonce, state, detail, current.steps)
        self._journal.save()
        self._tell()

    def _end(self, current: Installation, state: str, detail: str) -> None:
        self._journal.installation = None
        self._finish(current.target, current.nonce, state, detail, current.steps)

    def _finish(self, target: str | int, nonce: str, state: str, detail: str, steps: list[dict[str, object]]) -> None:
        assert state in FINAL
        detail = log.printable(detail, DETAIL_LIMIT)
        log.event("offer_ended", target=target, state=state, detail=detail or None)
        self._journal.add_answer(self._journal.add_report(target, nonce, state, detail, steps))
        self._journal.save()
        self.last_outcome = state
        self._tell()


def _step(name: str, is_good: bool, began: float) -> dict[str, object]:
    seconds = round(time.monotonic() - began, 3)
    return {"name": name, "state": "succeeded" if is_good else "failed", "seconds": seconds}

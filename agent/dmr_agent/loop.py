"""The agent's life: finish what was under way, send what waits, check in, carry an offer out, and again."""

from __future__ import annotations

from typing import Any

from dmr_agent import __version__, health, inventory, log
from dmr_agent.config import Config
from dmr_agent.installation import Carrier
from dmr_agent.journal import Journal
from dmr_agent.measures import measures
from dmr_agent.outbox import Outbox
from dmr_agent.schedule import Schedule
from dmr_agent.server import Refused, Server, ServerAway
from dmr_agent.stop import Stop

TICK_SECONDS = 0.2


class Loop:
    def __init__(self, settings: Config, journal: Journal, stop: Stop) -> None:
        self._settings, self._journal, self._stop = settings, journal, stop
        self._server = Server(settings)
        self._outbox = Outbox(journal, self._server, stop)
        self._schedule = Schedule(settings.min_pause_seconds, settings.max_pause_seconds)
        self._carrier = Carrier(settings, journal, stop, between=self._keep_in_touch, tell=self._tell)

    def run(self) -> None:
        """Until somebody asks to stop: raises Stopped."""
        while True:
            self._carry_out_if_ready()
            self._keep_in_touch(takes_offers=True)
            if self._journal.installation is None or self._outbox.is_acceptance_pending:
                self._stop.sleep(TICK_SECONDS)

    def once(self) -> bool:
        """One check-in, and an offer to its end. Returns whether the server answered and nothing failed."""
        try:
            self._outbox_after_local_work()
            offered = self._check_in()
            if offered is not None:
                self._carrier.consider(offered)
                self._outbox_after_local_work()
            self._outbox.send()
        except (ServerAway, Refused) as error:
            log.warn("server_away", reason=error)
            return False
        return self._carrier.last_outcome in (None, "succeeded")

    def _outbox_after_local_work(self) -> None:
        self._carry_out_if_ready()
        self._outbox.send()
        self._carry_out_if_ready()

    def _carry_out_if_ready(self) -> None:
        current = self._journal.installation
        if current and current.state == "accepted":
            self._carrier.give_up_if_late()
            current = self._journal.installation
        # The installer waits until the server knows that we accepted; what has begun waits for nobody.
        if current and not (current.state == "accepted" and self._outbox.is_acceptance_pending):
            self._carrier.carry_out()
            self._schedule.bring_forward()

    def _keep_in_touch(self, takes_offers: bool = False) -> None:
        """Send what waits and check in, if it is time."""
        if not self._schedule.is_due:
            return
        try:
            self._outbox.send()
            offered = self._check_in()
        except (ServerAway, Refused) as error:
            log.warn("server_away", reason=error, pause=f"{self._schedule.failed():.1f}")
            return
        if offered is None:
            return
        if takes_offers and self._journal.installation is None:
            self._carrier.consider(offered)
        else:
            log.event("offer_left", reason="another installation is under way")

    def _tell(self) -> None:
        """Send what waits now, unless the server is known to be away."""
        if self._schedule.is_away and not self._schedule.is_due:
            return
        try:
            self._outbox.send()
        except ServerAway as error:
            log.warn("server_away", reason=error, pause=f"{self._schedule.failed():.1f}")

    def _check_in(self) -> object:
        """Returns what is offered, or None. Raises ServerAway, Refused."""
        sequence = self._journal.take_sequence()
        with self._stop.interruptible():
            body = self._body(sequence)
            answer = self._server.check_in(body)
        pause = self._schedule.answered(answer.get("nextCheckInSeconds"))
        offered = answer.get("offer")
        log.event("checked_in", health=body["health"], has_offer=offered is not None, pause=f"{pause:.1f}")
        return offered

    def _body(self, sequence: int) -> dict[str, Any]:
        installed = self._journal.installed
        release = None
        if installed and installed.intact:
            release = {"version": installed.manifest.version, "manifestDigest": installed.manifest.digest}
        return {
            "sequence": sequence,
            "agentVersion": __version__,
            "release": release,
            "health": health.check(self._settings).state,
            "components": inventory.components(self._settings),
            "measures": measures(self._settings.state_dir),
        }

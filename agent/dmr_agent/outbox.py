"""Reports on their way to the server: kept in the journal until it took or refused them, sent in order."""

from __future__ import annotations

from dmr_agent import log
from dmr_agent.journal import Journal, Report
from dmr_agent.server import Refused, Server
from dmr_agent.stop import Stop


class Outbox:
    def __init__(self, journal: Journal, server: Server, stop: Stop) -> None:
        self._journal, self._server, self._stop = journal, server, stop

    def send(self) -> None:
        """Send all that waits, oldest first. Raises ServerAway at the first that can't be sent."""
        while self._journal.outbox:
            report = self._journal.outbox[0]
            said = f"{report['target']} {report['state']}"
            try:
                with self._stop.interruptible():
                    state = self._server.report(report)
            except Refused as error:
                log.warn("report_refused", report=said, sequence=report["sequence"], reason=error)
                is_welcome = False
            else:
                log.event("report_sent", report=said, sequence=report["sequence"], server_state=state)
                is_welcome = state in (None, "accepted")
            self._journal.outbox.pop(0)
            if report["state"] == "accepted" and not is_welcome:
                self._withdraw(report)
            self._journal.save()

    @property
    def is_acceptance_pending(self) -> bool:
        """Does the server not know yet that the current offer was accepted?"""
        current = self._journal.installation
        return current is not None and any(
            current.is_of(report) and report["state"] == "accepted" for report in self._journal.outbox
        )

    def _withdraw(self, report: Report) -> None:
        # Pausing a rollout withdraws what no agent has accepted: whoever comes too late must not install.
        current = self._journal.installation
        if current and current.is_of(report) and current.state == "accepted":
            log.warn("offer_withdrawn", target=report["target"])
            self._journal.installation = None

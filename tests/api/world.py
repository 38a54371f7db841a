"""A world in which the examples of the OpenAPI document are true."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from schemathesis import Case

from dmr_project.lib import schema
from participants import outages, public_keys
from participants.models import ApiKey, Outage
from relay.models import DeadLetterJob, State
from tests import factories
from tests.conftest import STAFF_KEY as STAFF_KEY
from tests.participants.test_reads_public_keys import okp_key
from tests.updates.staff import Staff, check_in

NOW = datetime(2026, 5, 4, 9, 0, tzinfo=timezone.utc)  # a little before the examples
ID = UUID(schema.ID["example"])
OTHER_ID = UUID("b0a7c9a4-52a6-4f57-8c2c-0d3c4f0b6e11")
NONCE = "vF3t0c2p9"
OLD_KEY = 4711
# What addresses name, where no example of the document says it: by parameter, or by address and parameter.
KNOWN = {"job": str(ID)}
KNOWN_AT = {("/api/v1/dead-letters/discards/{job}", "job"): str(OTHER_ID)}


def with_known_addresses(document: dict[str, Any]) -> dict[str, Any]:
    """The document with an example for each parameter in an address."""
    for address, operations in document["paths"].items():
        for operation in operations.values():
            for each in operation.get("parameters", ()):
                if each["in"] == "path":
                    name, like = each["name"], each["schema"]
                    usual = str(ID) if like.get("format") == "uuid" else like.get("example")
                    each["example"] = KNOWN_AT.get((address, name)) or KNOWN.get(name) or usual
    return document


class World:
    """Participants that speak, and what the operations are about."""

    def __init__(self) -> None:
        factories.institution("Tax Board", public_id=ID)
        self.caller = factories.participant("tax-board", public_id=ID)
        self.pulling = factories.participant("small-office", delivery_mode="pull")
        self.classifier = factories.participant("sorter", type="Classifier")
        recipient = factories.participant("police")
        self.statuses: dict[str, set[int]] = defaultdict(set)
        for each in (self.caller, self.pulling):
            factories.message(recipient, each.name)
        dead = factories.message(self.caller, recipient.name, message_id=ID)
        dead.deliveries.update(state=State.DEAD, ended_at=now(), last_error="the recipient answered 404")
        for action, public_id in ((DeadLetterJob.Action.REQUEUE, ID), (DeadLetterJob.Action.DISCARD, OTHER_ID)):
            self._job(action, public_id)
        ApiKey.objects.create(pk=OLD_KEY, participant=self.caller.row, digest="0" * 64, hint="Zk3p")
        public_keys.publish(self.caller.row.pk, okp_key() | {"kid": "2026-05"})
        self._offer()
        self._outage()

    def key(self, case: Case) -> str:
        """Of a participant that may do that."""
        able = {"/classified": self.classifier, "/api/v1/inbox": self.pulling}
        return next((who for start, who in able.items() if case.operation.path.startswith(start)), self.caller).key

    def note(self, label: str, status: int) -> None:
        self.statuses[label].add(status)

    def check_that_examples_hold(self) -> None:
        """Each operation has done what it is for, at least once: else the cases were none."""
        never = {label for label, found in self.statuses.items() if not any(200 <= each < 300 for each in found)}
        assert not never, f"no case of {sorted(never)} went well"

    def _job(self, action: DeadLetterJob.Action, public_id: UUID) -> None:
        DeadLetterJob.objects.create(
            public_id=public_id,
            action=action,
            sender=self.caller.row if action == DeadLetterJob.Action.REQUEUE else None,
            state=DeadLetterJob.State.DONE,
            until=now(),
            requested_at=now(),
            finished_at=now(),
            requested_by="tax-board",
            estimate=1,
        )

    def _outage(self) -> None:
        outage = Outage(
            public_id=ID, kind=Outage.Kind.UNPLANNED, owner=self.caller.row, text_en="Down.", begins_at=now()
        )
        outages.announce(outage, actor="tests", participants=[])

    def _offer(self) -> None:
        """The update that the example of a report is about."""
        target = Staff().rollout(instances=0, waves=(100,)).targets.get(participant=self.caller.row)
        check_in(target)
        type(target).objects.filter(pk=target.pk).update(public_id=ID, nonce=NONCE)


def now() -> datetime:
    return datetime.now(timezone.utc)

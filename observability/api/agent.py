"""`POST /api/v1/agent/check-in`. Shapes: CONTRACTS.md, section 6."""

from __future__ import annotations

import logging
from typing import cast

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import body
from dmr_project.lib.api import APIEndpoint, json_object
from dmr_project.lib.errors import DomainError
from dmr_project.lib.log import event
from observability import check_in, heartbeats, metrics
from participants.authentication import ApiKeyAuthentication, IsParticipant
from participants.directory import Credential, Entry
from participants.scopes import Scope
from updates import agent_protocol

logger = logging.getLogger(__name__)

_ANSWER = {
    "type": "object",
    "properties": {
        "nextCheckInSeconds": {"type": "integer"},
        "offer": {"type": "object", "nullable": True},
    },
}


class CheckIn(APIEndpoint):
    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (IsParticipant,)
    scope = Scope.HEARTBEAT

    @extend_schema(
        operation_id="agent_check_in",
        request={"application/json": {"type": "object"}},
        responses={(200, "application/json"): _ANSWER},
    )
    def post(self, request: Request) -> Response:
        """What an Instance runs and how it is. Answered with when to come again, and what is offered."""
        environ = request._request.META
        body.check_length(environ, check_in.MOST_BYTES)
        participant_id: int = cast(Entry, request.user).id
        said = check_in.parse(json_object(request))
        # Before the offer, so that one write holds the heartbeat and when the next is due.
        pause = agent_protocol.next_check_in_seconds(participant_id)
        known = heartbeats.record(participant_id, said, period=pause)
        # What is known, not what was just said: a repeat may be older.
        offer = agent_protocol.check_in(
            participant_id,
            known.release_version or None,
            known.manifest_digest or None,
            may_install=Scope.UPDATES in cast(Credential, request.auth).scopes,
        )
        return Response({"nextCheckInSeconds": pause, "offer": offer.shape() if offer else None})

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, DomainError):
            metrics.CHECK_INS.labels(result="refused").inc()
            event(logger, "check_in_refused", logging.WARNING, participant=getattr(self.request.user, "id", None),
                  code=exc.code, fields=[each.get("field") for each in exc.errors])  # fmt: skip
        return super().handle_exception(exc)

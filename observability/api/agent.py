"""`POST /api/v1/agent/check-in`. Shapes: CONTRACTS.md, section 6."""

from __future__ import annotations

import logging
from typing import cast

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import body, schema
from dmr_project.lib.api import APIEndpoint, json_object
from dmr_project.lib.errors import DomainError
from dmr_project.lib.log import event
from observability import check_in, heartbeats, metrics
from observability.models import MOST_TEXT
from observability.states import Health
from participants.authentication import ApiKeyAuthentication, IsParticipant
from participants.directory import Credential, Entry
from participants.scopes import Scope
from updates import agent_protocol
from updates.models import Release

logger = logging.getLogger(__name__)

_WHOLE = schema.nullable({"type": "integer", "minimum": 0, "maximum": check_in.MOST_NUMBER})
_HEALTH = schema.choice(Health.values)


def _text(example: str, most: int = MOST_TEXT) -> schema.Schema:
    return schema.text(example, minLength=1, maxLength=most, description="Printable characters.")


_COMPONENT = schema.shape(
    optional=("version", "digest"),
    name=_text("ruuter-public"),
    version=schema.nullable(schema.text("2.3.0", maxLength=MOST_TEXT)),
    digest=schema.nullable(schema.text("sha256:0f3a", maxLength=MOST_TEXT)),
    health=_HEALTH,
)
_BODY = schema.shape(
    sequence={"type": "integer", "minimum": 0, "maximum": check_in.MOST_NUMBER},
    agentVersion=_text("1.0.0"),
    release=schema.nullable(
        schema.shape(
            version=_text("1.1.0", check_in.MOST_RELEASE_TEXT),
            manifestDigest=_text("sha256:9b1c", check_in.MOST_RELEASE_TEXT),
        )
    ),
    health=_HEALTH,
    components=schema.array(_COMPONENT, maxItems=check_in.MOST_COMPONENTS),
    measures=schema.shape(
        optional=("uptimeSeconds", "load1", "memoryUsedBytes", "diskFreeBytes"),
        uptimeSeconds=_WHOLE,
        load1=schema.nullable({"type": "number", "minimum": 0, "maximum": check_in.MOST_NUMBER}),
        memoryUsedBytes=_WHOLE,
        diskFreeBytes=_WHOLE,
    ),
)
_ANSWER = schema.shape(
    nextCheckInSeconds=schema.COUNT,
    offer=schema.nullable(
        schema.shape(
            target=schema.ID,
            version=schema.text("1.1.0"),
            severity=schema.choice(Release.Severity.values),
            manifest=schema.text("eyJzY2hlbWEiOjF9", description="Base64 of the bytes that were signed."),
            signatures=schema.array(schema.shape(keyId=schema.text("5f0c"), signature=schema.text("c2lnbmVk"))),
            deadline=schema.TIME,
            nonce=schema.text("vF3t0c2p9"),
        )
    ),
)


class CheckIn(APIEndpoint):
    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (IsParticipant,)
    scope = Scope.HEARTBEAT

    @extend_schema(
        operation_id="agent_check_in",
        request={"application/json": _BODY},
        responses=schema.json(_ANSWER),
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

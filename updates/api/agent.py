"""What agents call, under `/api/v1/agent/`: reports."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import schema
from dmr_project.lib.api import APIEndpoint, json_object
from participants.authentication import ApiKeyAuthentication, IsParticipant
from participants.scopes import Scope
from updates import reports
from updates.models import TargetState

_STEP = schema.shape(
    optional=("seconds",),
    name=schema.text("pull images", minLength=1, maxLength=reports.MOST_TEXT),
    state=schema.text("done", minLength=1, maxLength=reports.MOST_TEXT),
    seconds=schema.nullable({"type": "number", "minimum": 0, "maximum": 999_999_999}),
)
_BODY = schema.shape(
    optional=("detail", "steps"),
    target=schema.ID,
    nonce=schema.text("vF3t0c2p9", minLength=1, maxLength=reports.MOST_TEXT, pattern="^[ -~]+$"),
    sequence={"type": "integer", "minimum": 0, "maximum": reports.MOST_SEQUENCE},
    state=schema.choice(reports.REPORTABLE),
    detail=schema.nullable(schema.text("all healthy")),
    steps=schema.nullable(schema.array(_STEP, maxItems=reports.MOST_STEPS)),
)
_ANSWER = schema.shape(state=schema.choice(TargetState.values))


class AgentReport(APIEndpoint):
    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (IsParticipant,)
    scope = Scope.UPDATES

    @extend_schema(
        operation_id="agent_report",
        request={"application/json": _BODY},
        responses=schema.json(_ANSWER, 202),
    )
    def post(self, request: Request) -> Response:
        """What came of an offer. The same again gets the same answer; what contradicts is kept, and answered 409."""
        said = reports.parse(json_object(request))
        caller: Any = request.user
        return Response({"state": reports.take(caller.id, said)}, status=202)

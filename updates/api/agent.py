"""What agents call, under `/api/v1/agent/`: reports."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib.api import APIEndpoint, json_object
from participants.authentication import ApiKeyAuthentication, IsParticipant
from participants.scopes import Scope
from updates import reports

_TEXT = {"type": "string"}
_BODY = {
    "type": "object",
    "required": ["target", "nonce", "sequence", "state"],
    "properties": {
        "target": {"type": "string", "format": "uuid"},
        "nonce": _TEXT,
        "sequence": {"type": "integer", "minimum": 0},
        "state": {"type": "string", "enum": list(reports.REPORTABLE)},
        "detail": _TEXT,
        "steps": {
            "type": "array",
            "items": {"type": "object", "properties": {"name": _TEXT, "state": _TEXT, "seconds": {"type": "number"}}},
        },
    },
}


class AgentReport(APIEndpoint):
    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (IsParticipant,)
    scope = Scope.UPDATES

    @extend_schema(
        operation_id="agent_report",
        request={"application/json": _BODY},
        responses={(202, "application/json"): {"type": "object", "properties": {"state": _TEXT}}},
    )
    def post(self, request: Request) -> Response:
        """What came of an offer. The same again gets the same answer; what contradicts is kept, and answered 409."""
        said = reports.parse(json_object(request))
        caller: Any = request.user
        return Response({"state": reports.take(caller.id, said)}, status=202)

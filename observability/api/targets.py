"""`GET /api/v1/observability/targets`: Prometheus' HTTP service discovery."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import schema
from dmr_project.lib.api import APIEndpoint
from observability import targets
from participants.authentication import ApiKeyAuthentication, IsStaffKey

_GROUP = schema.shape(
    targets=schema.array(schema.text("bot.tax.example:443")),
    labels={"type": "object", "additionalProperties": schema.TEXT, "example": {"participant": "tax-board"}},
)


class Targets(APIEndpoint):
    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (IsStaffKey,)

    @extend_schema(
        operation_id="observability_targets",
        responses=schema.json(schema.array(_GROUP)),
    )
    def get(self, request: Request) -> Response:
        """Every participant's endpoint as `host:port` with its labels, for `http_sd_configs`."""
        return Response(targets.targets(), headers={"Cache-Control": "no-store"})

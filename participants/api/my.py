"""What a participant sets for itself, under `/api/v1/my/`."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import schema
from dmr_project.lib.api import APIEndpoint, json_object
from participants import registry
from participants.authentication import ApiKeyAuthentication, IsParticipant, caller
from participants.models import Participant
from participants.scopes import Scope

_MODE = schema.shape(mode=schema.choice(Participant.DeliveryMode.values))
_EXAMPLE = OpenApiExample("Pull", value={"mode": "pull"})
_WANTED = schema.shape(announcements=schema.choice(Participant.Announcements.values))
_ALL = OpenApiExample("All", value={"announcements": "all"})


class DeliveryMode(APIEndpoint):
    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (IsParticipant,)
    scope = Scope.REGISTRY

    @extend_schema(operation_id="my_delivery_mode", responses=schema.json(_MODE), examples=[_EXAMPLE])
    def get(self, request: Request) -> Response:
        """How the caller gets its messages: posted to its endpoint (push), or fetched from its inbox (pull)."""
        return Response({"mode": caller(request).delivery_mode})

    @extend_schema(
        operation_id="my_delivery_mode_set",
        request={"application/json": _MODE},
        responses=schema.json(_MODE),
        examples=[_EXAMPLE],
    )
    def post(self, request: Request) -> Response:
        """Changes it, for what waits already too. What is on its way ends as it began."""
        mode = json_object(request).get("mode")
        row = registry.set_own_delivery_mode(caller(request).id, mode if isinstance(mode, str) else "")
        return Response({"mode": row.delivery_mode})


class Announcements(APIEndpoint):
    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (IsParticipant,)
    scope = Scope.REGISTRY

    @extend_schema(operation_id="my_announcements", responses=schema.json(_WANTED), examples=[_ALL])
    def get(self, request: Request) -> Response:
        """Of what the caller is told by messages from Dmr: none, important (all but participants changed), all."""
        return Response({"announcements": Participant.objects.get(pk=caller(request).id).announcements})

    @extend_schema(
        operation_id="my_announcements_set",
        request={"application/json": _WANTED},
        responses=schema.json(_WANTED),
        examples=[_ALL],
    )
    def post(self, request: Request) -> Response:
        """Changes it, for what is announced from now on."""
        wanted = json_object(request).get("announcements")
        row = registry.set_own_announcements(caller(request).id, wanted if isinstance(wanted, str) else "")
        return Response({"announcements": row.announcements})

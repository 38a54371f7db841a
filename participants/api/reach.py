"""`GET /api/v1/my/reach`: whom the caller may reach, who may reach it, and why."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import fields
from dmr_project.lib.api import APIEndpoint
from participants import neighbours
from participants.authentication import ApiKeyAuthentication, IsParticipant, caller
from participants.models import Participant
from participants.neighbours import Between
from participants.reach import Answer
from participants.scopes import Scope

MOST, USUAL = 500, 100

_TEXT: dict[str, Any] = {"type": "string"}
_ANSWER = {"type": "string", "enum": Answer.values}
_YES = {"type": "boolean"}
_SHAPE = {
    (200, "application/json"): {
        "type": "object",
        "properties": {
            "participants": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "name": _TEXT,
                        "type": {"type": "string", "enum": Participant.Type.values},
                        "youReachIt": _ANSWER,
                        "itReachesYou": _ANSWER,
                        "rooms": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "properties": {
                                    "name": _TEXT,
                                    "youSpeak": _YES,
                                    "youListen": _YES,
                                    "itSpeaks": _YES,
                                    "itListens": _YES,
                                },
                            },
                        },
                    },
                },
            },
            "next": {**_TEXT, "nullable": True, "description": "For `after`; null: these were the last."},
        },
    }
}
_EXAMPLE = {
    "participants": [
        {
            "name": "police",
            "type": "Chatbot",
            "youReachIt": "reached",
            "itReachesYou": "not-listening",
            "rooms": [
                {"name": "national", "youSpeak": True, "youListen": False, "itSpeaks": True, "itListens": True}
            ],
        }
    ],
    "next": None,
}


class MyReach(APIEndpoint):
    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (IsParticipant,)
    scope = Scope.REGISTRY

    @extend_schema(
        operation_id="my_reach",
        parameters=[
            OpenApiParameter("participant", str, description="This one alone, also where you share no room."),
            OpenApiParameter("after", str, description="`next` of the page before."),
            OpenApiParameter("limit", int, description=f"1 to {MOST}; {USUAL}."),
        ],
        responses=_SHAPE,
        examples=[OpenApiExample("One", value=_EXAMPLE, response_only=True)],
    )
    def get(self, request: Request) -> Response:
        """Whom the caller may reach and who may reach it, with the rooms that say so, by name."""
        asked = request.query_params
        named, after = fields.text(asked, "participant"), fields.text(asked, "after")
        limit = fields.number(asked, "limit", USUAL, MOST) or USUAL
        one = Participant.objects.get(pk=caller(request).id)
        others = (
            neighbours.anybody_but(one).filter(name=named) if named else neighbours.beside(one).filter(name__gt=after)
        )
        found = list(others[: limit + 1])
        rows = [shape(each) for each in neighbours.between(one, found[:limit])]
        return Response({"participants": rows, "next": rows[-1]["name"] if len(found) > limit else None})


def shape(each: Between) -> dict[str, Any]:
    return {
        "name": each.other.name,
        "type": each.other.type,
        "youReachIt": each.there.answer.value,
        "itReachesYou": each.back.answer.value,
        "rooms": [
            {
                "name": there.room,
                "youSpeak": there.speaks,
                "youListen": back.listens,
                "itSpeaks": back.speaks,
                "itListens": there.listens,
            }
            for there, back in zip(each.there.ways, each.back.ways, strict=True)
        ],
    }

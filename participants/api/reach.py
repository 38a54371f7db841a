"""`GET /api/v1/my/reach`: whom the caller may reach, who may reach it, and why."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import fields, schema
from dmr_project.lib.api import APIEndpoint
from participants import neighbours, statuses
from participants.authentication import ApiKeyAuthentication, IsParticipant, caller
from participants.models import Participant
from participants.neighbours import Between
from participants.reach import Answer
from participants.scopes import Scope

MOST, USUAL = 500, 100

_WORDS = {**schema.TEXT, "maxLength": fields.LONGEST, "pattern": schema.NO_NUL}
_LIMIT = {"type": "integer", "minimum": 1, "maximum": MOST}
_ROOM = schema.shape(
    name=schema.text("national"),
    youSpeak=schema.FLAG,
    youListen=schema.FLAG,
    itSpeaks=schema.FLAG,
    itListens=schema.FLAG,
)
_OTHER = schema.shape(
    name=schema.text("police"),
    type=schema.choice(Participant.Type.values),
    youReachIt=schema.choice(Answer.values),
    itReachesYou=schema.choice(Answer.values),
    rooms=schema.array(_ROOM),
)
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
            OpenApiParameter("participant", _WORDS, description="This one alone, also where you share no room."),
            OpenApiParameter("after", _WORDS, description="`next` of the page before."),
            OpenApiParameter("limit", _LIMIT, description=f"1 to {MOST}; {USUAL}."),
        ],
        responses=schema.json(schema.page("participants", _OTHER)),
        examples=[OpenApiExample("One", value=_EXAMPLE, response_only=True)],
    )
    def get(self, request: Request) -> Response:
        """Whom the caller may reach and who may reach it, with the rooms that say so, by name: of those that are in
        the network.
        """
        asked = request.query_params
        named, after = fields.text(asked, "participant"), fields.text(asked, "after")
        limit = fields.number(asked, "limit", USUAL, MOST) or USUAL
        one = Participant.objects.get(pk=caller(request).id)
        others = (
            neighbours.anybody_but(one).filter(name=named) if named else neighbours.beside(one).filter(name__gt=after)
        )
        found = list(others.exclude(status__in=statuses.UNKNOWN)[: limit + 1])
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

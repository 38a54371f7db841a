"""The list of participants and its changes, so that a client keeps a copy of its own with little traffic."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import Any

from django.http import HttpResponse
from django.utils.cache import get_conditional_response
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from dmr_project.lib import schema
from dmr_project.lib.api import APIEndpoint
from participants import listing, signed_list
from participants.api.clients import number
from participants.authentication import ApiKeyAuthentication, IsParticipant
from participants.listing import Page, Position
from participants.models import Participant
from participants.scopes import Scope
from participants.signing_keys import jwk

DEFAULT_LIMIT, MOST_LIMIT = 500, 1000
MOST_KEPT = 64  # answers of a process
KEYS_MAX_AGE = 3600  # seconds; less than the time for which a key is published before it signs

_ENTRY = schema.shape(
    id=schema.ID,
    name=schema.text("tax-board"),
    institutionId=schema.ID,
    host=schema.text(schema.HOST["example"]),
    type=schema.choice(Participant.Type.values),
    status=schema.text("Active"),
)
_JWS = schema.shape(
    payload=schema.text("eyJ2ZXJzaW9uIjoxfQ"),
    protected=schema.text("eyJhbGciOiJFZERTQSJ9"),
    signature=schema.text("c2lnbmVk"),
)
_CHANGES = schema.shape(
    reset=schema.FLAG,
    cursor=schema.text("1042-3f9a0c1b"),
    more=schema.FLAG,
    changes=schema.array(
        schema.shape(
            change=schema.choice(["added", "changed", "removed"]), id=schema.ID, participant=schema.nullable(_ENTRY)
        )
    ),
)
_TAG = OpenApiParameter("If-None-Match", str, "header", description="The ETag of the answer that you have.")
_LIMIT = {"type": "integer", "minimum": 1, "maximum": MOST_LIMIT}
_UNCHANGED: dict[Any, Any] = {304: None}
_ID = "0f5c2f54-6a1f-4d0c-8c55-0d2f3f6f9f10"
_EXAMPLE = OpenApiExample(
    "One joined, one left",
    value={
        "reset": False,
        "cursor": "1042-3f9a0c1b",
        "changes": [
            {
                "change": "added",
                "id": _ID,
                "participant": {
                    "id": _ID,
                    "name": "tax-board",
                    "institutionId": "5b7e0f7c-1f43-4a53-9a0e-9a7e5c2d4b66",
                    "host": "https://bot.example.ee/dmr-api/messages",
                    "type": "Chatbot",
                    "status": "Active",
                },
            },
            {"change": "removed", "id": "8c1de3a5-24cf-4a0f-8f5e-1c0b7d1f2a33", "participant": None},
        ],
        "more": False,
    },
    response_only=True,
)


class Answers:
    """What a process has answered of late: many clients ask for the same, and the list is the same for all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._position: Position | None = None
        self._bodies: dict[tuple[str, int], bytes] = {}

    def find(self, position: Position, since: str, limit: int) -> bytes | None:
        with self._lock:
            return self._bodies.get((since, limit)) if self._position == position else None

    def keep(self, position: Position, since: str, limit: int, body: bytes) -> None:
        with self._lock:
            if self._position != position or len(self._bodies) >= MOST_KEPT:
                self._position, self._bodies = position, {}
            self._bodies[since, limit] = body


answers = Answers()


class ParticipantChanges(APIEndpoint):
    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (IsParticipant,)
    scope = Scope.REGISTRY

    @extend_schema(
        operation_id="participants_changes",
        parameters=[
            _TAG,
            OpenApiParameter("since", str, description="The cursor of the last answer; without it the whole list."),
            OpenApiParameter(
                "limit", _LIMIT, description=f"Participants in the answer, {DEFAULT_LIMIT} unless given."
            ),
        ],
        responses={**schema.json(_CHANGES), **_UNCHANGED},
        examples=[_EXAMPLE],
    )
    def get(self, request: Request) -> HttpResponse:
        """What changed in the list of active participants since a cursor. ETag and 304.

        Keep `cursor`, and send it as `since`: at once while `more` is true. With `reset` the whole list begins: in
        the first answer, and whenever what changed since then cannot be told any more.
        """
        since = request.query_params.get("since", "")
        limit = number(request, "limit", DEFAULT_LIMIT, MOST_LIMIT)
        position = listing.position()
        tag = f'"{position.number}-{position.mark}-{limit}-{_named(since)}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if has_it(request, tag):
            return unchanged(headers)
        body = answers.find(position, since, limit)
        if body is None:
            body = written(listing.page(listing.parse(since), limit, position))
            answers.keep(position, since, limit, body)
        return HttpResponse(body, content_type="application/json", headers=headers)


class SignedParticipantList(APIEndpoint):
    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (IsParticipant,)
    scope = Scope.REGISTRY

    @extend_schema(
        operation_id="participants_list_signed",
        parameters=[_TAG],
        responses={**schema.json(_JWS), **_UNCHANGED},
    )
    def get(self, request: Request) -> HttpResponse:
        """The whole list of active participants, signed: a flattened JWS. ETag and 304.

        Its payload is JSON with `version`, `issuedAt`, `expiresAt`, `count` and `participants`; its keys are at
        `/.well-known/dmr-registry-keys`.
        """
        document = signed_list.shelf.document()
        headers = {"ETag": document.tag, "Cache-Control": "private, no-cache"}
        if has_it(request, document.tag):
            return unchanged(headers)
        return HttpResponse(document.body, content_type="application/json", headers=headers)


class RegistryKeys(APIEndpoint):
    """The keys by which the list is verified, for everybody."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        operation_id="registry_keys_jwks",
        parameters=[_TAG],
        responses={**schema.json(schema.shape(keys=schema.array(schema.JWK))), **_UNCHANGED},
    )
    def get(self, request: Request) -> HttpResponse:
        """A JWK set (RFC 7517), with an ETag; may be kept for an hour."""
        body = json.dumps({"keys": [jwk(row) for row in signed_list.keys.published()]}).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": f"public, max-age={KEYS_MAX_AGE}"}
        if has_it(request, tag):
            return unchanged(headers)
        return HttpResponse(body, content_type="application/json", headers=headers)


def has_it(request: Request, tag: str) -> bool:
    """Does the client say that it holds this already?"""
    found = get_conditional_response(request, etag=tag)
    return found is not None and found.status_code == 304


def unchanged(headers: dict[str, str]) -> HttpResponse:
    response = HttpResponse(status=304, headers=headers)
    del response["Content-Type"]  # there is no content
    return response


def _named(since: str) -> str:
    """A cursor in an ETag: anything else is answered like none."""
    return since if listing.parse(since) else "none"


def written(page: Page) -> bytes:
    said = {
        "reset": page.reset,
        "cursor": str(page.cursor),
        "changes": [
            {"change": each.step, "id": each.id, "participant": listing.entry(each.row) if each.row else None}
            for each in page.changes
        ],
        "more": page.more,
    }
    return json.dumps(said, ensure_ascii=False).encode()

"""Public keys of participants: published by their owner, read by those that share a room with it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpResponse
from django.utils import timezone
from django.utils.cache import get_conditional_response
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import body, fields, schema
from dmr_project.lib.api import APIEndpoint, json_object
from dmr_project.lib.errors import NotFound
from participants import jwk, public_keys
from participants.authentication import ApiKeyAuthentication, IsParticipant, caller, known
from participants.directory import Directory, Entry
from participants.models import Participant, PublicKey
from participants.scopes import Scope

MOST_BYTES = 16 * 1024  # of a body
MOST_KEPT = 10_000  # sets of one version of the registry, in each process

_WORDS = {**schema.TEXT, "maxLength": fields.LONGEST, "pattern": schema.NO_NUL}
_NUMBER = {"pattern": "^[A-Za-z0-9_-]+$"}  # base64url
_X = "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"
_KEY = {
    "kty": schema.choice(["RSA", "EC", "OKP"]),
    "kid": schema.text("2026-11", minLength=1, maxLength=jwk.LONGEST_KID, pattern="^[!-~]+$"),
    "use": schema.choice(["sig", "enc"]),
    "alg": schema.text("ECDH-ES"),
    "crv": schema.text("X25519", description="Of EC and OKP."),
    "x": schema.text(_X, description="Of EC and OKP.", **_NUMBER),
    "y": schema.text("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM", description="Of EC.", **_NUMBER),
    "n": schema.text("0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78Lh", description="Of RSA.", **_NUMBER),
    "e": schema.text("AQAB", description="Of RSA.", **_NUMBER),
}
# The other members depend on kty; those that another kty has are not looked at.
_GIVEN = schema.shape(
    optional=("kid", "use", "alg"),
    kty=_KEY["kty"],
    kid=schema.nullable(_KEY["kid"]),
    use=schema.nullable(_KEY["use"]),
    alg=schema.nullable(_KEY["alg"]),
)
_JWK = schema.shape(
    optional=("use", "alg", "crv", "x", "y", "n", "e", "exp", "revoked"),
    **_KEY,
    iat={**schema.COUNT, "description": "Published, in seconds since 1970."},
    exp={**schema.COUNT, "description": "Ends, likewise."},
    revoked=schema.shape(revoked_at=schema.COUNT, reason=schema.text("it was in a log")),
)
_SET = schema.json(schema.shape(participant=schema.NAME, keys=schema.array(_JWK)))
_UNCHANGED = {304: OpenApiResponse(description="As it was: If-None-Match named its ETag.")}
_PUBLISH = {
    **schema.shape(
        optional=("expiresAt",),
        jwk={**_GIVEN, "description": "The public half alone, as in RFC 7517."},
        expiresAt=schema.nullable(schema.TIME),
    ),
    "additionalProperties": False,
}
_REVOKE = {
    **schema.shape(
        optional=("reason",),
        kid={**schema.text("2026-05", minLength=1), "maxLength": fields.LONGEST, "pattern": schema.NO_NUL},
        reason=schema.nullable({**schema.text("it was in a log"), "maxLength": 255, "pattern": schema.NO_NUL}),
    ),
    "additionalProperties": False,
}
_EXAMPLE = {
    "kty": "OKP",
    "crv": "X25519",
    "x": _X,
    "kid": "2026-11",
    "use": "enc",
    "alg": "ECDH-ES",
}
_PUBLISHED = {**_EXAMPLE, "iat": 1793779200, "exp": 1825315200}


def shape(row: PublicKey) -> dict[str, Any]:
    """A JWK with when it was published, ends, and was revoked, in seconds since 1970."""
    said: dict[str, Any] = {**row.members, "kid": row.kid}
    if row.use:
        said["use"] = row.use
    if row.alg:
        said["alg"] = row.alg
    said["iat"] = int(row.created_at.timestamp())
    if row.expires_at:
        said["exp"] = int(row.expires_at.timestamp())
    if row.revoked_at:
        said["revoked"] = {"revoked_at": int(row.revoked_at.timestamp()), "reason": row.revoked_reason}
    return said


@dataclass(frozen=True)
class Set:
    """A participant's keys as they are answered."""

    content: bytes
    tag: str
    until: datetime | None  # when the first of its keys expires


class Sets:
    """What this process has answered, as long as the registry's version stands: many ask, and little changes."""

    def __init__(self) -> None:
        self._version = -1
        self._kept: dict[tuple[int, bool], Set] = {}

    def of(self, registry: Directory, owner: Entry, *, with_history: bool) -> Set:
        now = timezone.now()
        if registry.version != self._version or len(self._kept) >= MOST_KEPT:
            self._version, self._kept = registry.version, {}
        kept, key = self._kept, (owner.id, with_history)
        found = kept.get(key)
        if found is None or (found.until is not None and found.until <= now):
            found = kept[key] = _made(owner, now, with_history=with_history)
        return found

    def forget(self) -> None:
        self._version, self._kept = -1, {}


sets = Sets()


def _made(owner: Entry, now: datetime, *, with_history: bool) -> Set:
    rows = PublicKey.objects.filter(participant=owner.id).order_by("-id")
    listed = list(rows if with_history else rows.valid(now))
    content = json.dumps({"participant": owner.name, "keys": [shape(row) for row in listed]}).encode()
    ends = [row.expires_at for row in listed if row.expires_at is not None and row.expires_at > now]
    return Set(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"', min(ends, default=None))


class PublicKeys(APIEndpoint):
    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (IsParticipant,)
    scope = Scope.REGISTRY

    @extend_schema(
        operation_id="public_keys",
        parameters=[
            OpenApiParameter("participant", _WORDS, description="Whose, by name; your own unless given."),
            OpenApiParameter("history", bool, description="With those that have expired or were revoked."),
            OpenApiParameter("If-None-Match", str, "header", description="The ETag of the answer before."),
        ],
        responses={**_SET, **_UNCHANGED, 404: None},
        examples=[
            OpenApiExample("One key", value={"participant": "police", "keys": [_PUBLISHED]}, response_only=True)
        ],
    )
    def get(self, request: Request) -> HttpResponse:
        """A participant's keys as a JWK Set, the newest first. ETag and 304.

        Those of participants that share a room with the caller; without `history` the valid ones alone.
        """
        registry, asking = known(request), caller(request)
        name = fields.text(request.query_params, "participant")
        owner = registry.named(name) if name else asking
        if owner is None or (owner.id != asking.id and not _are_together(registry, asking, owner)):
            raise NotFound(f"There is no participant {name!r} that shares a room with you.")
        found = sets.of(registry, owner, with_history=_wants_history(request))
        headers = {"ETag": found.tag, "Cache-Control": "private, no-cache"}
        response = HttpResponse(found.content, content_type="application/json", headers=headers)
        return get_conditional_response(request, etag=found.tag, response=response) or response

    @extend_schema(
        operation_id="public_keys_publish",
        request={"application/json": _PUBLISH},
        responses=schema.json(_JWK, 200, 201),
        examples=[
            OpenApiExample(
                "For a year", value={"jwk": _EXAMPLE, "expiresAt": "2027-11-04T08:00:00Z"}, request_only=True
            ),
            OpenApiExample("Published", value=_PUBLISHED, response_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        """Publishes a key of the caller's: 201, and 200 for the same again. It never changes from then on."""
        body.check_length(request._request.META, MOST_BYTES)
        asked = json_object(request)
        fields.refuse_unknown(asked, ("jwk", "expiresAt"))
        row, is_new = public_keys.publish(
            caller(request).id, asked.get("jwk"), expires_at=fields.time(asked, "expiresAt")
        )
        return Response(shape(row), status=201 if is_new else 200)


class Revoke(APIEndpoint):
    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (IsParticipant,)
    scope = Scope.REGISTRY

    @extend_schema(
        operation_id="public_keys_revoke",
        request={"application/json": _REVOKE},
        responses=schema.json(_JWK),
        examples=[OpenApiExample("One", value={"kid": "2026-05", "reason": "it was in a log"}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Nobody is to use the key any more; others see when, and why. The same again changes nothing."""
        asked = json_object(request)
        fields.refuse_unknown(asked, ("kid", "reason"))
        kid = fields.text(asked, "kid")
        if not kid:
            raise fields.invalid("kid", "is required: the id of the key, as GET /api/v1/public-keys has it")
        owner = Participant.objects.get(pk=caller(request).id)
        return Response(shape(public_keys.revoke_own(owner, kid, reason=fields.text(asked, "reason"))))


def _are_together(registry: Directory, one: Entry, other: Entry) -> bool:
    """Do they share a room, whoever may speak there?"""
    ways, _ = registry.ways(one, other)
    return other.is_known and bool(ways)


def _wants_history(request: Request) -> bool:
    written = fields.text(request.query_params, "history").lower()
    if written not in ("", "0", "1", "false", "true"):
        raise fields.invalid("history", "must be true or false")
    return written in ("1", "true")

"""A participant's own API keys, under `/api/v1/keys`: listed, rotated, revoked. A key is answered once, when made."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import fields, schema
from dmr_project.lib.api import APIEndpoint, json_object, moment
from participants import key_rotation, scopes
from participants.authentication import ApiKeyAuthentication, IsParticipant
from participants.directory import Credential
from participants.key_rotation import LEAST_OVERLAP, MOST_DAYS, MOST_OVERLAP, Wanted
from participants.models import ApiKey
from participants.scopes import Scope

MOST_LISTED = 100
LONGEST_NOTE, LONGEST_ROTATION, LONGEST_REASON = 100, 64, 255
FIELDS = ("rotation", "note", "overlapSeconds", "expiresInDays", "scopes")

_MAYBE = schema.nullable(schema.TIME)
_SCOPES = schema.array(schema.choice(Scope.values), minItems=1)
_NUMBER: schema.Schema = {"type": "integer", "minimum": 1, "example": 4711}
_FIELDS = {
    "id": _NUMBER,
    "beginsWith": schema.text("Zk3p"),
    "note": schema.text("of the new server"),
    "scopes": _SCOPES,
    "createdAt": schema.TIME,
    "expiresAt": _MAYBE,
    "revokedAt": _MAYBE,
    "lastUsedAt": _MAYBE,
    "lastUsedFrom": schema.nullable(schema.text("198.51.100.7")),
    "replaces": schema.nullable(_NUMBER),
    "isThisOne": schema.FLAG,
}
_KEY = schema.shape(**_FIELDS)
_LIST = schema.json(schema.shape(keys=schema.array(_KEY)))


def _whole(least: int, most: int) -> schema.Schema:
    return schema.nullable({"type": "integer", "minimum": least, "maximum": most})


_WANTED = {
    **schema.shape(
        optional=FIELDS,
        rotation=schema.nullable(
            schema.one_line("spring", LONGEST_ROTATION), description="What you call this rotation."
        ),
        note=schema.nullable(schema.one_line("of the new server", LONGEST_NOTE)),
        overlapSeconds=_whole(int(LEAST_OVERLAP.total_seconds()), int(MOST_OVERLAP.total_seconds())),
        expiresInDays=_whole(1, MOST_DAYS),
        scopes=schema.nullable(_SCOPES),
    ),
    "additionalProperties": False,
}
_MADE = schema.json(
    schema.shape(**_FIELDS, key=schema.text("q9XaTzN0b2YgYSBrZXkgdGhhdCBpcyBubyByZWFsIG9"), replaced=_KEY), 201
)
_REVOKED = {
    **schema.shape(
        optional=("reason",),
        id={**_NUMBER, "maximum": 2**63 - 1},
        reason=schema.nullable(schema.text("all have the new one", maxLength=LONGEST_REASON, pattern=schema.NO_NUL)),
    ),
    "additionalProperties": False,
}
_OLD = {
    "id": 4711,
    "beginsWith": "Zk3p",
    "note": "",
    "scopes": Scope.values,
    "createdAt": "2026-05-04T09:30:07.101Z",
    "expiresAt": "2026-11-11T08:00:00.000Z",
    "revokedAt": None,
    "lastUsedAt": "2026-11-04T07:59:31.480Z",
    "lastUsedFrom": "198.51.100.7",
    "replaces": None,
    "isThisOne": True,
}
_NEW = {
    **_OLD,
    "id": 4712,
    "beginsWith": "q9Xa",
    "createdAt": "2026-11-04T08:00:00.000Z",
    "expiresAt": None,
    "lastUsedAt": None,
    "lastUsedFrom": None,
    "replaces": 4711,
    "isThisOne": False,
}


def shape(row: ApiKey, caller: Credential) -> dict[str, Any]:
    return {
        "id": row.pk,
        "beginsWith": row.hint,
        "note": row.note,
        "scopes": scopes.listed(scopes.parse(row.scopes)),
        "createdAt": moment(row.created_at),
        "expiresAt": moment(row.expires_at),
        "revokedAt": moment(row.revoked_at),
        "lastUsedAt": moment(row.last_used_at),
        "lastUsedFrom": row.last_used_from or None,
        "replaces": row.predecessor_id,
        "isThisOne": row.pk == caller.key_id,
    }


class KeyEndpoint(APIEndpoint):
    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (IsParticipant,)
    scope = scopes.ANY  # whatever a key is for, it may be replaced in time

    def credential(self, request: Request) -> Credential:
        assert isinstance(request.auth, Credential)
        return request.auth


class Keys(KeyEndpoint):
    @extend_schema(
        operation_id="keys_list",
        responses=_LIST,
        examples=[OpenApiExample("Two", value={"keys": [_NEW, _OLD]}, response_only=True)],
    )
    def get(self, request: Request) -> Response:
        """The caller's keys, the newest first, those that ended too; asked with a key that is not for the registry,
        that one and those it replaces or is replaced by. Never the keys themselves.
        """
        caller = self.credential(request)
        rows = key_rotation.own(caller).order_by("-id").distinct()[:MOST_LISTED]
        return Response({"keys": [shape(row, caller) for row in rows]}, headers={"Cache-Control": "no-store"})

    @extend_schema(
        operation_id="keys_rotate",
        request={"application/json": _WANTED},
        responses=_MADE,
        examples=[
            OpenApiExample("With a day's overlap", value={"overlapSeconds": 86400}, request_only=True),
            OpenApiExample(
                "Made",
                value={**_NEW, "key": "q9XaTzN0b2YgYSBrZXkgdGhhdCBpcyBubyByZWFsIG9", "replaced": _OLD},
                response_only=True,
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        """A new key in place of the one that is calling, which goes on working for the overlap. It is answered once:
        asked again before the new key was used, another one is made in its place.
        """
        caller = self.credential(request)
        made = key_rotation.rotate(caller, wanted(json_object(request)))
        said = {**shape(made.new, caller), "key": made.clear, "replaced": shape(made.old, caller)}
        return Response(said, status=201, headers={"Cache-Control": "no-store"})


class Revoke(KeyEndpoint):
    @extend_schema(
        operation_id="keys_revoke",
        request={"application/json": _REVOKED},
        responses=schema.json(_KEY),
        examples=[
            OpenApiExample("The old one", value={"id": 4711, "reason": "all have the new one"}, request_only=True)
        ],
    )
    def post(self, request: Request) -> Response:
        """Makes one of the caller's keys void, at once and for good. The same again changes nothing."""
        asked = json_object(request)
        fields.refuse_unknown(asked, ("id", "reason"))
        key_id = fields.whole(asked, "id", least=1, most=2**63 - 1)
        if key_id is None:
            raise fields.invalid("id", "is required: the number of the key, as GET /api/v1/keys has it")
        caller = self.credential(request)
        return Response(shape(key_rotation.revoke_own(caller, key_id, reason=fields.text(asked, "reason")), caller))


def wanted(asked: dict[str, Any]) -> Wanted:
    """What the body says of the new key. Raises InvalidInput."""
    fields.refuse_unknown(asked, FIELDS)
    least, most = int(LEAST_OVERLAP.total_seconds()), int(MOST_OVERLAP.total_seconds())
    seconds = fields.whole(asked, "overlapSeconds", least=least, most=most)
    return Wanted(
        rotation=fields.one_line(asked, "rotation", LONGEST_ROTATION),
        note=fields.one_line(asked, "note", LONGEST_NOTE),
        overlap=None if seconds is None else timedelta(seconds=seconds),
        days=fields.whole(asked, "expiresInDays", least=1, most=MOST_DAYS),
        scopes=chosen_scopes(asked),
    )


def chosen_scopes(asked: dict[str, Any]) -> frozenset[Scope] | None:
    found = asked.get("scopes")
    if found is None:
        return None
    if not isinstance(found, list) or not found or not all(each in Scope.values for each in found):
        raise fields.invalid("scopes", f"must be a list of one or more of {', '.join(Scope.values)}")
    return frozenset(Scope(each) for each in found)

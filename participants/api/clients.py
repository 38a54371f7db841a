"""The registry as the second generation of clients reads it. Source: CONTRACTS.md, section 2.

`GET /centops/clients` and `GET /centops/integration/clients?page=1&pageSize=10`. These clients identify themselves by
`Authorization: <base64("key:secret")>`, without a scheme: the key is the participant's name (or `staff`), the secret
its API key. `X-Api-Key` does as well.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from datetime import datetime

from django.db.models import Max, QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import schema
from dmr_project.lib.api import APIEndpoint
from dmr_project.lib.errors import InvalidInput
from participants import failures, jwk, keys
from participants.authentication import ApiKeyAuthentication, IsParticipantOrStaffKey, StaffKey
from participants.directory import Credential, Entry
from participants.models import Change, Participant, PublicKey
from participants.scopes import Scope

STAFF = "staff"
MOST_PAGE_SIZE = 1000
MOST_PAGES = 1_000_000

_NAME = schema.text("tax-board")
_CERTIFICATE = schema.text("", description="Always empty: here keys authenticate.")
_CLIENTS = schema.shape(
    response=schema.array(
        schema.shape(
            id=schema.ID,
            name=_NAME,
            authentication_certificate=_CERTIFICATE,
            created_at=schema.TIME,
            updated_at=schema.TIME,
        )
    )
)
_PAGE = schema.shape(
    response=schema.shape(
        items=schema.array(
            schema.shape(
                clientId=schema.ID,
                name=_NAME,
                authenticationCertificate=_CERTIFICATE,
                createdAt=schema.TIME,
                updatedAt=schema.TIME,
            )
        ),
        page=schema.COUNT,
        pageSize=schema.COUNT,
        totalPages=schema.COUNT,
    )
)


def _number(most: int, usual: int) -> schema.Schema:
    return {"type": "integer", "minimum": 1, "maximum": most, "default": usual}


class ClientAuthentication(ApiKeyAuthentication):
    """`Authorization: <base64("key:secret")>`, else `X-Api-Key`."""

    def authenticate(self, request: Request) -> tuple[Entry | StaffKey, Credential | None]:
        environ = request._request.META
        written = environ.get("HTTP_AUTHORIZATION", "")
        if not written or environ.get("HTTP_X_API_KEY"):
            return super().authenticate(request)
        name, environ["HTTP_X_API_KEY"] = name_and_secret(written)
        user, credential = super().authenticate(request)
        if name != (user.name if isinstance(user, Entry) else STAFF):
            failures.count(failures.KEY, keys.digest(environ["HTTP_X_API_KEY"]))
            raise AuthenticationFailed("The key in Authorization does not belong to its secret.")
        return user, credential


def name_and_secret(written: str) -> tuple[str, str]:
    """Out of `base64("key:secret")`, with or without `Basic` in front. Raises AuthenticationFailed."""
    encoded = written.removeprefix("Basic ").strip()
    try:
        name, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        name, colon, secret = "", "", ""
    if not (name and colon and secret):
        raise AuthenticationFailed('Authorization must be base64 of "key:secret": your name, a colon, your API key.')
    return name, secret


class ClientEndpoint(APIEndpoint):
    authentication_classes = (ClientAuthentication,)
    permission_classes = (IsParticipantOrStaffKey,)
    scope = Scope.REGISTRY


def listed() -> QuerySet[Participant]:
    """The active ones, oldest first, so that a page stays what it was when others join."""
    return Participant.objects.present().filter(status=Participant.Status.ACTIVE).order_by("id")


def with_times(rows: Iterable[Participant]) -> list[tuple[Participant, datetime]]:
    """Each with when it was last changed."""
    found = list(rows)
    changes = Change.objects.filter(kind="participant", subject_id__in=[str(row.public_id) for row in found])
    latest = dict(changes.order_by().values_list("subject_id").annotate(Max("at")))
    return [(row, latest.get(str(row.public_id), row.created_at)) for row in found]


def certificates(rows: Iterable[Participant]) -> dict[int, str]:
    """Of each that has one, the key that this generation knows: RSA, for signatures and for encryption alike, in PEM.

    The newest valid one that was published without a use.
    """
    found = PublicKey.objects.valid(timezone.now()).filter(kind="RSA", use="", participant__in=rows).order_by("id")
    return {each.participant_id: jwk.pem(each.members) for each in found}


class Clients(ClientEndpoint):
    @extend_schema(operation_id="centops_clients", responses=schema.json(_CLIENTS))
    def get(self, request: Request) -> Response:
        """All active participants, as the second generation's relay reads them."""
        known = certificates(listed())
        rows = [
            {
                "id": str(row.public_id),
                "name": row.name,
                "authentication_certificate": known.get(row.pk, ""),
                "created_at": row.created_at,
                "updated_at": updated_at,
            }
            for row, updated_at in with_times(listed())
        ]
        return Response({"response": rows})


class IntegrationClients(ClientEndpoint):
    @extend_schema(
        operation_id="centops_integration_clients",
        parameters=[
            OpenApiParameter("page", _number(MOST_PAGES, 1)),
            OpenApiParameter("pageSize", _number(MOST_PAGE_SIZE, 10)),
        ],
        responses=schema.json(_PAGE),
    )
    def get(self, request: Request) -> Response:
        """The same in pages, as the second generation's registry answers."""
        page, size = number(request, "page", 1, MOST_PAGES), number(request, "pageSize", 10, MOST_PAGE_SIZE)
        rows = listed()
        shown = list(rows[(page - 1) * size : page * size])
        known = certificates(shown)
        items = [
            {
                "clientId": str(row.public_id),
                "name": row.name,
                "authenticationCertificate": known.get(row.pk, ""),
                "createdAt": row.created_at,
                "updatedAt": updated_at,
            }
            for row, updated_at in with_times(shown)
        ]
        pages = -(-rows.count() // size)
        return Response({"response": {"items": items, "page": page, "pageSize": size, "totalPages": pages}})


def number(request: Request, name: str, default: int, most: int) -> int:
    """A whole number from 1 to `most` of the query. Raises InvalidInput."""
    written = request.query_params.get(name)
    if written is None:
        return default
    if not (written.isascii() and written.isdigit() and len(written) <= 9 and 1 <= int(written) <= most):
        detail = f"must be a whole number from 1 to {most}"
        raise InvalidInput(f"{name} {detail}, not {written!r}", errors=[{"field": name, "detail": detail}])
    return int(written)

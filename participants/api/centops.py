"""The registry in the network's existing contract, under `/centops/`. Source: CONTRACTS.md, section 2."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import urljoin
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import schema
from dmr_project.lib.api import APIEndpoint, json_object
from dmr_project.lib.errors import InvalidInput, NotFound
from participants import directory, history, registry, statuses
from participants.authentication import ApiKeyAuthentication, IsParticipant, IsStaffKey, caller
from participants.listing import entries
from participants.models import Institution, Participant
from participants.scopes import Scope

STAFF = history.STAFF_KEY
_types = {choice.value.lower(): choice.value for choice in Participant.Type}
_listed: dict[tuple[int, tuple[str, ...]], bytes] = {}

_PUBLIC_STATUSES = (Participant.Status.ACTIVE.value, Participant.Status.DISABLED.value)
_KEY = schema.text("a-key-that-nobody-guesses", minLength=12, maxLength=50)
_NEW_INSTITUTION = schema.shape(
    optional=("status",),
    name=schema.text("Pension Board", minLength=4, maxLength=50, pattern="^[!-~][ -~]{2,48}[!-~]$"),
    status=schema.nullable(schema.choice(Institution.Status.values)),
)
_INSTITUTION = schema.shape(
    id=schema.ID, name=schema.text("Tax Board"), status=schema.choice(Institution.Status.values)
)
_NEW_PARTICIPANT = schema.shape(
    optional=("status", "apiKey"),
    name={**schema.NAME, "example": "pension-board"},
    institutionId=schema.ID,
    host=schema.HOST,
    type=schema.choice(Participant.Type.values),
    status=schema.nullable(schema.choice(_PUBLIC_STATUSES)),
    apiKey=schema.nullable(_KEY),
)
_PARTICIPANT_FIELDS = {
    "id": schema.ID,
    "name": schema.text("tax-board"),
    "institutionId": schema.ID,
    "host": schema.HOST,
    "type": schema.choice(Participant.Type.values),
    "status": schema.choice(_PUBLIC_STATUSES),
}
_PARTICIPANT = schema.shape(**_PARTICIPANT_FIELDS)
_REGISTERED = schema.shape(**_PARTICIPANT_FIELDS, apiKey={**_KEY, "description": "Told this once."})
_STATE = schema.shape(id=schema.ID, status=schema.choice(_PUBLIC_STATUSES))
_SAID_STATE = {"application/json": {**schema.choice(_PUBLIC_STATUSES), "example": "Disabled"}}


def institution_shape(row: Institution) -> dict[str, Any]:
    return {"id": str(row.public_id), "name": row.name, "status": row.status}


def participant_shape(row: Participant) -> dict[str, Any]:
    """As the contract has it, which knows neither suspension nor revocation; see statuses.MEANINGS."""
    return {
        "id": str(row.public_id),
        "name": row.name,
        "institutionId": str(row.institution.public_id),
        "host": row.host,
        "type": row.type,
        "status": statuses.MEANINGS[row.status].shown_as,
    }


def public_address(route: str, row: Institution | Participant) -> str:
    """Under DMR_PUBLIC_URL, whatever Host the caller sent."""
    return urljoin(settings.PUBLIC_URL, reverse(route, args=[row.public_id]))


def find_institution(public_id: UUID) -> Institution:
    row = Institution.objects.present().filter(public_id=public_id).first()
    if row is None:
        raise NotFound(f"There is no institution {public_id}.")
    return row


def find_participant(public_id: UUID) -> Participant:
    row = Participant.objects.present().select_related("institution").filter(public_id=public_id).first()
    if row is None:
        raise NotFound(f"There is no participant {public_id}.")
    return row


def text_field(body: dict[str, Any], name: str, *, required: bool = True) -> str | None:
    """A string of the body; None where it may be absent and is. Raises InvalidInput, which names the field."""
    value = body.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str):
        detail = "is required" if value is None else "must be a string"
        raise InvalidInput(f"{name} {detail}", errors=[{"field": name, "detail": detail}])
    return value


def choice_field(body: dict[str, Any], name: str, options: list[str], default: str | None) -> str:
    value = text_field(body, name, required=default is None)
    if value is None:
        value = default or ""
    if value not in options:
        detail = f"must be one of {', '.join(options)}, not {value[:100]!r}"
        raise InvalidInput(f"{name} {detail}", errors=[{"field": name, "detail": detail}])
    return value


class PublicEndpoint(APIEndpoint):
    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (IsParticipant,)
    scope = Scope.REGISTRY


class AdminEndpoint(APIEndpoint):
    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (IsStaffKey,)


class PublicParticipants(PublicEndpoint):
    @extend_schema(
        operation_id="public_participants_list",
        parameters=[
            OpenApiParameter("type", str, many=True, enum=Participant.Type.values, description="Only these."),
            OpenApiParameter("If-None-Match", str, "header", description="The ETag of the list that you have."),
        ],
        responses={**schema.json(schema.array(_PARTICIPANT)), 304: None},
    )
    def get(self, request: Request) -> HttpResponse:
        """The active participants, our relay among them; `?type=` (repeatable) narrows. ETag and 304."""
        types = wanted_types(request)
        version = directory.registry_version()
        tag = f'"{version}-{hashlib.sha256(",".join(types).encode()).hexdigest()[:8]}"'
        if tag in [part.strip().removeprefix("W/") for part in request.headers.get("If-None-Match", "").split(",")]:
            response = HttpResponse(status=304, headers={"ETag": tag, "Cache-Control": "private, no-cache"})
            del response["Content-Type"]  # there is no content
            return response
        return HttpResponse(
            listing(version, types),
            content_type="application/json",
            headers={"ETag": tag, "Cache-Control": "private, no-cache"},
        )


def wanted_types(request: Request) -> tuple[str, ...]:
    """The types asked for, without regard to case. Raises InvalidInput."""
    found = set()
    for value in request.query_params.getlist("type"):
        if value.lower() not in _types:
            raise InvalidInput(
                f"type must be one of {', '.join(_types.values())}, not {value!r}",
                errors=[{"field": "type", "detail": "unknown"}],
            )
        found.add(_types[value.lower()])
    return tuple(sorted(found))


def listing(version: int, types: tuple[str, ...]) -> bytes:
    """The list as JSON, built once for each version of the registry and process."""
    key = (version, types)
    if key not in _listed:
        rows = Participant.objects.active().order_by("name")
        if types:
            rows = rows.filter(type__in=types)
        if len(_listed) > 16:
            _listed.clear()
        _listed[key] = json.dumps(entries(rows)).encode()
    return _listed[key]


class PublicParticipant(PublicEndpoint):
    @extend_schema(operation_id="public_participants_retrieve", responses=schema.json(_PARTICIPANT))
    def get(self, request: Request, public_id: UUID) -> Response:
        """One participant that is present."""
        row = find_participant(public_id)
        if row.status in statuses.UNKNOWN and row.pk != caller(request).id:
            raise NotFound(f"There is no participant {public_id}.")
        return Response(participant_shape(row))


class PublicInstitutions(PublicEndpoint):
    @extend_schema(operation_id="public_institutions_list", responses=schema.json(schema.array(_INSTITUTION)))
    def get(self, request: Request) -> Response:
        """The active institutions."""
        rows = Institution.objects.present().filter(status=Institution.Status.ACTIVE)
        return Response([institution_shape(row) for row in rows])


class PublicInstitution(PublicEndpoint):
    @extend_schema(operation_id="public_institutions_retrieve", responses=schema.json(_INSTITUTION))
    def get(self, request: Request, public_id: UUID) -> Response:
        """One institution that is present."""
        return Response(institution_shape(find_institution(public_id)))


class PublicInstitutionParticipants(PublicEndpoint):
    @extend_schema(responses=schema.json(schema.array(_PARTICIPANT)))
    def get(self, request: Request, public_id: UUID) -> Response:
        """The active participants of one institution."""
        institution = find_institution(public_id)
        rows = Participant.objects.active().filter(institution=institution).select_related("institution")
        return Response([participant_shape(row) for row in rows])


class MyState(PublicEndpoint):
    """What a participant says of itself, by PUT or, for clients that have only that, POST."""

    @extend_schema(operation_id="my_state_put", request=_SAID_STATE, responses=schema.json(_STATE))
    def put(self, request: Request) -> Response:
        """The caller says that it is there (`Active`), or away (`Disabled`): then its messages are held."""
        said: Any = request.data
        if not isinstance(said, str):
            raise InvalidInput('The body must be a JSON string, "Active" or "Disabled".')
        row = registry.set_own_status(caller(request).id, said)
        return Response({"id": str(row.public_id), "status": row.status})

    @extend_schema(operation_id="my_state_post", request=_SAID_STATE, responses=schema.json(_STATE))
    def post(self, request: Request) -> Response:
        """The same as PUT, for clients that have no PUT."""
        return self.put(request)


class AdminInstitutions(AdminEndpoint):
    @extend_schema(operation_id="admin_institutions_list", responses=schema.json(schema.array(_INSTITUTION)))
    def get(self, request: Request) -> Response:
        """All institutions that are present."""
        return Response([institution_shape(row) for row in Institution.objects.present()])

    @extend_schema(request={"application/json": _NEW_INSTITUTION}, responses=schema.json(_INSTITUTION, 201))
    def post(self, request: Request) -> Response:
        """Adds an institution."""
        row = registry.add(read_institution(request, Institution()), actor=STAFF)
        location = public_address("centops-admin-institution", row)
        return Response(institution_shape(row), status=201, headers={"Location": location})


class AdminInstitution(AdminEndpoint):
    @extend_schema(operation_id="admin_institutions_retrieve", responses=schema.json(_INSTITUTION))
    def get(self, request: Request, public_id: UUID) -> Response:
        """One institution."""
        return Response(institution_shape(find_institution(public_id)))

    @extend_schema(request={"application/json": _NEW_INSTITUTION}, responses=schema.json(_INSTITUTION))
    def put(self, request: Request, public_id: UUID) -> Response:
        """Changes an institution."""
        row = registry.update(read_institution(request, find_institution(public_id)), actor=STAFF)
        return Response(institution_shape(row))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, public_id: UUID) -> Response:
        """Removes an institution that nothing depends on."""
        registry.remove_institution(find_institution(public_id), actor=STAFF)
        return Response(status=204)


def read_institution(request: Request, row: Institution) -> Institution:
    """The body's fields put on `row`. Raises InvalidInput."""
    body = json_object(request)
    row.name = text_field(body, "name") or ""
    row.status = choice_field(body, "status", Institution.Status.values, row.status)
    return row


class AdminParticipants(AdminEndpoint):
    @extend_schema(operation_id="admin_participants_list", responses=schema.json(schema.array(_PARTICIPANT)))
    def get(self, request: Request) -> Response:
        """All participants that are present."""
        rows = Participant.objects.present().select_related("institution")
        return Response([participant_shape(row) for row in rows])

    @extend_schema(request={"application/json": _NEW_PARTICIPANT}, responses=schema.json(_REGISTERED, 201))
    def post(self, request: Request) -> Response:
        """Registers a participant: the answer bears its `apiKey`, this once."""
        # Of whoever comes by this contract it is not known that its client takes messages from Dmr.
        row = read_participant(request, Participant(announcements=Participant.Announcements.NONE))
        chosen = text_field(json_object(request), "apiKey", required=False)
        key = registry.register(row, actor=STAFF, key=chosen)
        location = public_address("centops-admin-participant", row)
        shape = {**participant_shape(row), "apiKey": key}
        return Response(shape, status=201, headers={"Location": location, "Cache-Control": "no-store"})


class AdminParticipant(AdminEndpoint):
    @extend_schema(operation_id="admin_participants_retrieve", responses=schema.json(_PARTICIPANT))
    def get(self, request: Request, public_id: UUID) -> Response:
        """One participant."""
        return Response(participant_shape(find_participant(public_id)))

    @extend_schema(request={"application/json": _NEW_PARTICIPANT}, responses=schema.json(_PARTICIPANT))
    def put(self, request: Request, public_id: UUID) -> Response:
        """Changes a participant; an `apiKey` in the body becomes one more key of it."""
        found = find_participant(public_id)
        status = found.status
        row = read_participant(request, found)
        chosen = text_field(json_object(request), "apiKey", required=False)
        but = statuses.LIFE if row.status == status else ()
        registry.change_participant(row, actor=STAFF, key=chosen, but=but)
        return Response(participant_shape(row))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, public_id: UUID) -> Response:
        """Removes a participant; its name is free again."""
        registry.remove_participant(find_participant(public_id), actor=STAFF)
        return Response(status=204)


def read_participant(request: Request, row: Participant) -> Participant:
    """The body's fields put on `row`. Raises InvalidInput."""
    body = json_object(request)
    row.name = text_field(body, "name") or ""
    row.host = text_field(body, "host") or ""
    row.type = choice_field(body, "type", Participant.Type.values, None)
    row.announcements = choice_field(body, "announcements", Participant.Announcements.values, row.announcements)
    shown = statuses.MEANINGS[row.status].shown_as
    public = [Participant.Status.ACTIVE.value, Participant.Status.DISABLED.value]
    status = choice_field(body, "status", [*public, shown], shown)
    # The contract shows a suspension as Disabled: sent back unchanged, it must not be lifted.
    if status != shown:
        row.status = status
    written = text_field(body, "institutionId") or ""
    try:
        row.institution = find_institution(UUID(written))
    except (ValueError, NotFound):
        detail = f"{written!r} is not the id of an institution"
        raise InvalidInput(f"institutionId {detail}", errors=[{"field": "institutionId", "detail": detail}]) from None
    return row

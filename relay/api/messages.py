"""The relay: `POST /messages` and `GET /messages/{message-id}`. Source: CONTRACTS.md, section 1."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import body, schema
from dmr_project.lib.api import APIEndpoint, moment
from dmr_project.lib.errors import DomainError, NotFound
from participants import directory, names
from participants.authentication import (
    ApiKeyAuthentication,
    IsParticipant,
    SourceNetworkAuthentication,
    caller,
    known,
)
from participants.directory import Entry
from participants.scopes import Scope
from relay import accept, counting, envelope, limits, metrics
from relay.accept import Accepted
from relay.models import Attempt, Delivery, Message, State

Handler = TypeVar("Handler", bound=Callable[..., Any])

_CARRIED = {**schema.TEXT, "maxLength": envelope.LONGEST, "pattern": "^[ -~]*$"}
_NEEDED = {**_CARRIED, "minLength": 1}
_NEW = "7d1d3c52-0f0a-4b6e-9d55-2b1f4a8c9e10"
_UUID = schema.text(schema.ID["example"], pattern=f"^{envelope.UUID_PATTERN}$")


def _header(name: str, like: schema.Schema, said: str, *, required: bool = False, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, {**like, **more}, "header", required=required, description=said)


_SENT_BY = _header("X-Sent-By", _NEEDED, "The sender's name.", required=True, example="tax-board")
_SEND_TO = _header("X-Send-To", _NEEDED, "A participant's name, or Classifier.", required=True, example="police")
_MODEL_TYPE = "application/vnd.dmr.messagerequest+json;version=1"
_REST = [
    _header("X-Message-Id", _UUID, "A UUID; the same message again has the same.", required=True, example=_NEW),
    _header("X-Message-Id-Ref", _CARRIED, "Of the message that this one answers.", example=schema.ID["example"]),
    _header("X-Model-Type", _CARRIED, "Opaque to us.", example=_MODEL_TYPE),
    _header("TTL", {"type": "integer", "minimum": 1, "maximum": 9_999_999_999}, "Seconds; at most the room's."),
]
_CONVERSATION = _header(
    "X-Conversation-Id", _CARRIED, "Within it deliveries to a recipient keep their order.", example="case-4711"
)
_SEGMENT = {**_NEEDED, "pattern": "^[ -.0-~]+$"}
_PAYLOAD = {"text/plain": {"type": "string", "format": "binary", "example": "eyJNZXNzYWdlIjogIlRlcmUifQ=="}}


def observe_accepted(environ: Mapping[str, Any], request: str) -> None:
    """How long it took to accept `one` message or a `batch`, since dmr_project.rsgi had read the request."""
    read_at = environ.get("dmr.read_at")
    if read_at is not None:
        counting.took_to_accept(request, time.perf_counter() - read_at)


SPENT = "dmr.spent"  # in the environ: whose rate this request is off already, and what is left of it as headers
LOOKED = "dmr.looked"  # relay.api.express has tried to store it by the registry as this process last saw it
MOST_LOOKS = 5  # at a registry that changes between being read and storing by it


class RegistryBusy(DomainError):
    status = 503
    code = "registry-busy"
    title = "The registry keeps changing"
    headers = {"Retry-After": "1"}


class RelayEndpoint(APIEndpoint):
    authentication_classes: tuple[type[ApiKeyAuthentication], ...] = (ApiKeyAuthentication,)
    permission_classes = (IsParticipant,)
    scope = Scope.RELAY


class AcceptingEndpoint(RelayEndpoint):
    """An address to which messages are posted: its refusals are messages not accepted."""

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, DomainError):
            metrics.REFUSED.labels(code=exc.code).inc()
        return super().handle_exception(exc)


_ACCEPTED = schema.json(
    schema.shape(messageId=schema.text(schema.ID["example"]), acceptedAt=schema.TIME, expiresAt=schema.TIME), 202
)
_DELIVERY = schema.shape(
    optional=("lastAnswer",),
    recipient=schema.text("police"),
    state=schema.choice(State.values),
    attempts=schema.COUNT,
    nextAttemptAt=schema.nullable(schema.TIME),
    deliveredAt=schema.nullable(schema.TIME),
    lastStatus=schema.nullable({"type": "integer", "example": 202}),
    lastError=schema.nullable(schema.text("the recipient answered 503")),
    lastAnswer=schema.nullable(
        schema.shape(
            status=schema.nullable({"type": "integer", "example": 202}),
            body=schema.nullable(schema.text("busy")),
            seconds={"type": "number", "minimum": 0},
        ),
        description="For the sender alone.",
    ),
)
_STATUS = schema.shape(
    messageId=schema.text(schema.ID["example"]),
    state=schema.choice(State.values),
    acceptedAt=schema.TIME,
    expiresAt=schema.TIME,
    deliveries=schema.array(_DELIVERY),
)


def _in_address(name: str, example: str) -> OpenApiParameter:
    return OpenApiParameter(name, {**_SEGMENT, "example": example}, "path")


def describe_sending(operation_id: str, *parameters: OpenApiParameter) -> Callable[[Handler], Handler]:
    return extend_schema(
        operation_id=operation_id, parameters=[*parameters, *_REST], request=_PAYLOAD, responses=_ACCEPTED
    )


class SendingEndpoint(AcceptingEndpoint):
    """One that takes a single message; subclasses say what of its envelope the address stands for."""

    authentication_classes: tuple[type[ApiKeyAuthentication], ...] = (SourceNetworkAuthentication,)
    accept = staticmethod(accept.accept)

    _is_first_look = False

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        """By the registry as this process last saw it; where nothing is stored by that one, as it is now.

        Storing checks that the registry is still the same, so the usual case needs no query to ask for it.
        """
        seen = directory.last_seen()
        if seen is not None and LOOKED not in request.META:
            self._is_first_look = True
            request.directory = seen  # type: ignore[attr-defined]
            with contextlib.suppress(accept.Outdated):
                return self._dispatch(request, *args, **kwargs)
        self._is_first_look = False
        for _ in range(MOST_LOOKS):
            request.directory = None  # type: ignore[attr-defined]  # read in the dispatch, which answers its errors
            with contextlib.suppress(accept.Outdated):
                return self._dispatch(request, *args, **kwargs)
        return self.handle_exception(RegistryBusy("The registry keeps changing just now. Send the same again."))

    def _dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        response: Response = super().dispatch(request, *args, **kwargs)  # type: ignore[assignment]
        return response

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, accept.Outdated):
            raise exc
        if self._is_first_look:
            raise accept.Outdated from exc
        return super().handle_exception(exc)

    def take(self, request: Request, given: Mapping[str, str]) -> Response:
        """202 once the message is stored. A repeat gets the first answer again."""
        environ, sender = request._request.META, caller(request)
        headers = envelope.read(environ, given)
        accept.authorise(sender, headers.sent_by)
        registry = known(request)
        payload = body.read_once(environ, registry.payload_limit(sender))
        spent: tuple[Entry, Mapping[str, str]] | None = environ.get(SPENT)
        if spent is None or spent[0] != sender:  # not again at a second look
            spent = environ[SPENT] = sender, limits.spend(sender, 1, len(payload))
        accepted = self.accept(registry, sender, headers, payload)
        observe_accepted(environ, "one")
        return Response(accepted_shape(accepted), status=202, headers=spent[1])


def accepted_shape(accepted: Accepted) -> dict[str, Any]:
    return {
        "messageId": accepted.written_id,
        "acceptedAt": moment(accepted.accepted_at),
        "expiresAt": moment(accepted.expires_at),
    }


class Messages(SendingEndpoint):
    @describe_sending("messages_send", _SENT_BY, _SEND_TO, _CONVERSATION)
    def post(self, request: Request) -> Response:
        """Accepts a message: 202 once it is stored. A repeat gets the first answer again."""
        return self.take(request, {})


class Unclassified(SendingEndpoint):
    @describe_sending("unclassified_send", _SENT_BY, _CONVERSATION)
    def post(self, request: Request) -> Response:
        """The same as `/messages` to `Classifier`."""
        return self.take(request, {"X-Send-To": names.CLASSIFIER})


class Classified(SendingEndpoint):
    @describe_sending("classified_send", _SEND_TO, _CONVERSATION)
    def post(self, request: Request) -> Response:
        """A classifier's answer: the same as `/messages` from `Classifier`."""
        return self.take(request, {"X-Sent-By": names.CLASSIFIER})


class Conversation(SendingEndpoint):
    @describe_sending(
        "conversations_send", _SENT_BY, _in_address("participant", "police"), _in_address("conversation", "case-4711")
    )
    def post(self, request: Request, participant: str, conversation: str) -> Response:
        """A follow-up straight to that participant, within that conversation, in order."""
        return self.take(request, {"X-Send-To": participant, "X-Conversation-Id": conversation})


class RoomMessages(SendingEndpoint):
    authentication_classes = (ApiKeyAuthentication,)
    accept = staticmethod(accept.accept_for_room)

    @describe_sending("rooms_send", _SENT_BY, _CONVERSATION, _in_address("room", "national"))
    def post(self, request: Request, room: str) -> Response:
        """Accepts a message for every other member of the room, which the path names."""
        return self.take(request, {"X-Send-To": room})


class OneMessage(RelayEndpoint):
    @extend_schema(
        operation_id="messages_retrieve",
        parameters=[OpenApiParameter("message_id", _UUID, "path")],
        responses=schema.json(_STATUS),
    )
    def get(self, request: Request, message_id: str) -> Response:
        """What became of a message that the caller sent or received."""
        parsed = envelope.parse_uuid(message_id)
        found = find(caller(request), parsed) if parsed else None
        if found is None:
            raise NotFound(f"There is no message {message_id!r} that you sent or received.")
        message, deliveries = found
        return Response(status_shape(message, deliveries, is_sender=message.sender_id == caller(request).id))


def find(asking: Entry, message_id: UUID) -> tuple[Message, QuerySet[Delivery]] | None:
    """The caller's own sent message with all its deliveries, else the newest it received with its own one."""
    sent = Message.objects.sent_by_participant(asking.id, message_id)
    if sent is not None:
        return sent, sent.deliveries.order_by("id")
    received = Message.objects.received_by(asking.id, message_id)
    if received is not None:
        return received, received.deliveries.filter(recipient_id=asking.id).order_by("id")
    return None


def status_shape(message: Message, deliveries: QuerySet[Delivery], *, is_sender: bool) -> dict[str, Any]:
    """What became of a message; for its sender also what the recipients answered."""
    rows = list(deliveries)
    said = Attempt.objects.last_answers([row.pk for row in rows]) if is_sender else {}
    return {
        "messageId": message.written_id,
        "state": overall_state([State(row.state) for row in rows]).value,
        "acceptedAt": moment(message.accepted_at),
        "expiresAt": moment(message.expires_at),
        "deliveries": [
            {
                "recipient": row.recipient_name,
                "state": row.state,
                "attempts": row.attempts,
                "nextAttemptAt": moment(row.due_at) if row.state == State.PENDING else None,
                "deliveredAt": moment(row.delivered_at),
                "lastStatus": row.last_status,
                "lastError": row.last_error or None,
                **({"lastAnswer": last_answer(row, said.get(row.pk, ""))} if is_sender else {}),
            }
            for row in rows
        ],
    }


def last_answer(row: Delivery, said: str) -> dict[str, Any] | None:
    """Of the last attempt, if there was one. `status` is None where nobody answered; of a success no body is kept."""
    if row.last_seconds is None:
        return None
    is_failure = row.state != State.DELIVERED
    return {"status": row.last_status, "body": (said or None) if is_failure else None, "seconds": row.last_seconds}


def overall_state(states: list[State]) -> State:
    """Of a message: the least finished of its deliveries, then the worst."""
    order = (State.DELIVERING, State.PENDING, State.DEAD, State.EXPIRED)
    return next((state for state in order if state in states), State.DELIVERED)

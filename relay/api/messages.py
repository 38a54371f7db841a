"""The relay: `POST /messages` and `GET /messages/{message-id}`. Source: CONTRACTS.md, section 1."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import body
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
from relay.models import Attempt, Delivery, Message, State

_HEADERS = [
    OpenApiParameter("X-Sent-By", str, "header", required=True, description="The sender's name."),
    OpenApiParameter("X-Send-To", str, "header", required=True, description="A participant's name, or Classifier."),
    OpenApiParameter("X-Message-Id", str, "header", required=True, description="A UUID."),
    OpenApiParameter("X-Message-Id-Ref", str, "header", description="The id of the message this one answers."),
    OpenApiParameter("X-Model-Type", str, "header", description="Opaque to us."),
    OpenApiParameter("TTL", int, "header", description="Seconds to try for; at most what the room allows."),
]


def observe_accepted(environ: Mapping[str, Any], request: str) -> None:
    """How long it took to accept `one` message or a `batch`, since dmr_project.rsgi had read the request."""
    read_at = environ.get("dmr.read_at")
    if read_at is not None:
        counting.took_to_accept(request, time.perf_counter() - read_at)


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

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, DomainError):
            metrics.REFUSED.labels(code=exc.code).inc()
        return super().handle_exception(exc)


_ACCEPTED = {
    (202, "application/json"): {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("messageId", "acceptedAt", "expiresAt")},
    }
}


class SendingEndpoint(RelayEndpoint):
    """An address that takes a message; subclasses say what of its envelope the address stands for."""

    authentication_classes: tuple[type[ApiKeyAuthentication], ...] = (SourceNetworkAuthentication,)
    accept = staticmethod(accept.accept)

    _is_first_look = False
    _spent_by: Entry | None = None  # whose rate this request is off already
    _left: Mapping[str, str] = MappingProxyType({})  # of that rate, as headers

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        """By the registry as this process last saw it; where nothing is stored by that one, as it is now.

        Storing checks that the registry is still the same, so the usual case needs no query to ask for it.
        """
        seen = directory.last_seen()
        if seen is not None:
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
        if self._spent_by != sender:  # not again at a second look
            self._left = limits.spend(sender, 1, len(payload))
            self._spent_by = sender
        accepted = self.accept(registry, sender, headers, payload)
        observe_accepted(environ, "one")
        return Response(
            {
                "messageId": accepted.written_id,
                "acceptedAt": moment(accepted.accepted_at),
                "expiresAt": moment(accepted.expires_at),
            },
            status=202,
            headers=self._left,
        )


class Messages(SendingEndpoint):
    @extend_schema(
        operation_id="messages_send", parameters=_HEADERS, request={"text/plain": bytes}, responses=_ACCEPTED
    )
    def post(self, request: Request) -> Response:
        """Accepts a message: 202 once it is stored. A repeat gets the first answer again."""
        return self.take(request, {})


class Unclassified(SendingEndpoint):
    @extend_schema(
        operation_id="unclassified_send", parameters=_HEADERS, request={"text/plain": bytes}, responses=_ACCEPTED
    )
    def post(self, request: Request) -> Response:
        """The same as `/messages` to `Classifier`."""
        return self.take(request, {"X-Send-To": names.CLASSIFIER})


class Classified(SendingEndpoint):
    @extend_schema(
        operation_id="classified_send", parameters=_HEADERS, request={"text/plain": bytes}, responses=_ACCEPTED
    )
    def post(self, request: Request) -> Response:
        """A classifier's answer: the same as `/messages` from `Classifier`."""
        return self.take(request, {"X-Sent-By": names.CLASSIFIER})


class Conversation(SendingEndpoint):
    @extend_schema(
        operation_id="conversations_send", parameters=_HEADERS, request={"text/plain": bytes}, responses=_ACCEPTED
    )
    def post(self, request: Request, participant: str, conversation: str) -> Response:
        """A follow-up straight to that participant, within that conversation, in order."""
        return self.take(request, {"X-Send-To": participant, "X-Conversation-Id": conversation})


class RoomMessages(SendingEndpoint):
    authentication_classes = (ApiKeyAuthentication,)
    accept = staticmethod(accept.accept_for_room)

    @extend_schema(operation_id="rooms_send", parameters=_HEADERS, request={"text/plain": bytes}, responses=_ACCEPTED)
    def post(self, request: Request, room: str) -> Response:
        """Accepts a message for every other member of the room, which the path names."""
        return self.take(request, {"X-Send-To": room})


class OneMessage(RelayEndpoint):
    @extend_schema(responses={200: {"type": "object"}})
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

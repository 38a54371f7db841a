"""The inbox of a participant that pulls: fetch under a lease, acknowledge, hand back."""

from __future__ import annotations

import base64
import math
import random
import re
from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import fields, schema
from dmr_project.lib.api import json_object, moment
from dmr_project.lib.errors import InvalidInput
from participants.authentication import caller
from participants.directory import Credential
from relay import metrics
from relay.api.messages import RelayEndpoint
from relay.inbox import answers, leases
from relay.inbox.answers import Answer, Refusal
from relay.inbox.leases import Leased
from relay.inbox.waiting import polls

MOST_MESSAGES, DEFAULT_MESSAGES = 100, 20
MOST_WAIT = 25  # seconds
LEAST_LEASE, DEFAULT_LEASE, MOST_LEASE = 5, 60, 600  # seconds
MOST_LEASES = 500  # in one call
MOST_RETRY_AFTER = 30 * 24 * 3600  # seconds
LONGEST_REASON = 200  # characters
COME_AGAIN = (3, 8)  # seconds, spread so that those who were turned away don't come back together

# What the message's headers are called in JSON, where it bears them.
FIELDS = ("messageId", "messageIdRef", "sentBy", "sendTo", "modelType", "contentType", "conversationId", "room")

_MESSAGE: dict[str, Any] = {
    "lease": "2a-1f0c5b7e9d3a4c21",
    "leaseUntil": "2026-05-04T09:31:07.125Z",
    "attempt": 1,
    "acceptedAt": "2026-05-04T09:30:07.101Z",
    "expiresAt": "2026-05-05T09:30:07.101Z",
    "messageId": "3f6d2c1e-8a47-4c0e-9b57-6a1f0e2d4b88",
    "messageIdRef": None,
    "sentBy": "tax-board",
    "sendTo": "small-office",
    "modelType": "application/vnd.dmr.messagerequest+json;version=1",
    "contentType": "text/plain",
    "conversationId": None,
    "room": None,
    "webhookId": "dmr_k1mCqF7tXw0y0n5Jm3oJm8m0w2i0v3m1yq4xQmZr2nA",
    "webhookTimestamp": "1777887007",
    "webhookSignature": "v1a,Q2hhbmdlIG1lLCBJIGFtIG9ubHkgYW4gZXhhbXBsZSBvZiA2NCBieXRlcy4=",
    "attestedSender": "tax-board",
    "attestedRecipient": "small-office",
    "attestedKey": "5S9m0m3bqg8kQ1sXw0cQ7r2n4y6u8i0oPaSdFgHjKlZ",
    "payload": "ZXlKTlpYTnpZV2RsSWpvZ0lsUmxjbVVpZlE9PQ==",
}
_LEASE = schema.text(_MESSAGE["lease"])
_TEXT_OR_NONE = schema.nullable(schema.text("tax-board"))
_LEASED = schema.shape(
    optional=[name for name in _MESSAGE if name.startswith(("webhook", "attested"))],
    lease=_LEASE,
    leaseUntil=schema.TIME,
    attempt=schema.COUNT,
    acceptedAt=schema.TIME,
    expiresAt=schema.TIME,
    **dict.fromkeys(FIELDS, _TEXT_OR_NONE),
    webhookId=schema.text(_MESSAGE["webhookId"]),
    webhookTimestamp=schema.text(_MESSAGE["webhookTimestamp"]),
    webhookSignature=schema.text(_MESSAGE["webhookSignature"]),
    attestedSender=schema.text("tax-board"),
    attestedRecipient=schema.text("small-office"),
    attestedKey=schema.text(_MESSAGE["attestedKey"]),
    payload=schema.text(_MESSAGE["payload"], description="Base64."),
)
_LIST = schema.json(schema.shape(messages=schema.array(_LEASED), nextPollSeconds=schema.COUNT))
_RESULTS = schema.json(
    schema.shape(
        results=schema.array(
            schema.shape(
                lease=_LEASE,
                result=schema.choice(("delivered", "returned", "dead", "expired", "lost", "unknown")),
                status={"type": "integer", "example": 200},
            )
        )
    )
)
_LEASES = schema.array(_LEASE, minItems=1, maxItems=MOST_LEASES)


def _query(name: str, least: int, usual: int, description: str) -> OpenApiParameter:
    # No maximum: what is above the most is the most.
    return OpenApiParameter(name, {"type": "integer", "minimum": least, "default": usual}, description=description)


_STATUSES = {answers.LOST: 409, answers.UNKNOWN: 404}


class Inbox(RelayEndpoint):
    @extend_schema(
        operation_id="inbox_fetch",
        parameters=[
            _query("limit", 1, DEFAULT_MESSAGES, f"Messages at most, up to {MOST_MESSAGES}."),
            _query("wait", 0, 0, f"Seconds to wait for a first one, up to {MOST_WAIT}."),
            _query("lease", LEAST_LEASE, DEFAULT_LEASE, f"Seconds, up to {MOST_LEASE}."),
        ],
        responses=_LIST,
        examples=[
            OpenApiExample("One message", value={"messages": [_MESSAGE], "nextPollSeconds": 0}, response_only=True),
            OpenApiExample("None", value={"messages": [], "nextPollSeconds": 5}, response_only=True),
        ],
    )
    def get(self, request: Request) -> Response:
        """Fetches messages, oldest first. Each is leased to the caller: acknowledge it before its lease runs out."""
        most = number(request, "limit", DEFAULT_MESSAGES, least=1, most=MOST_MESSAGES)
        wait = number(request, "wait", 0, least=0, most=MOST_WAIT)
        seconds = number(request, "lease", DEFAULT_LEASE, least=LEAST_LEASE, most=MOST_LEASE)
        recipient, environ = caller(request), request._request.META
        found = leases.hand_out(recipient, most=most, seconds=seconds)
        if found:
            return _answer("messages", found)
        if wait and "dmr.can_wait" in environ:
            # dmr_project.rsgi waits there, and asks us again with the same place.
            key_id = request.auth.key_id if isinstance(request.auth, Credential) else None
            place = environ.get("dmr.place") or polls.take(recipient.id, wait, key_id)
            if place is None:
                return _answer("turned_away", [], come_again=random.randint(*COME_AGAIN))
            environ["dmr.wait"] = place
            return _answer("waited", [])
        return _answer("empty", [], come_again=random.randint(*COME_AGAIN))

    def head(self, request: Request) -> Response:
        raise MethodNotAllowed("HEAD")  # would lease what nobody sees


def _answer(result: str, found: list[Leased], *, come_again: int = 0) -> Response:
    if result != "waited":
        metrics.INBOX_POLLS.labels(result=result).inc()
    headers = {"Cache-Control": "no-store", **({"Retry-After": str(come_again)} if come_again else {})}
    return Response({"messages": [shape(each) for each in found], "nextPollSeconds": come_again}, headers=headers)


def shape(leased: Leased) -> dict[str, Any]:
    """A message as JSON: what a push would say in headers, and the payload in base64."""
    claimed = leased.claimed
    return {
        "lease": str(leased.handle),
        "leaseUntil": moment(leased.until),
        "attempt": claimed.attempts,
        "acceptedAt": moment(claimed.accepted_at),
        "expiresAt": moment(claimed.expires_at),
        **dict.fromkeys(FIELDS),
        **{field_name(header): value for header, value in leased.headers.items()},
        "payload": base64.b64encode(claimed.payload).decode("ascii"),
    }


def field_name(header: str) -> str:
    """`X-Message-Id-Ref` -> `messageIdRef`."""
    words = header.removeprefix("X-").split("-")
    return words[0].lower() + "".join(word.capitalize() for word in words[1:])


class Acknowledge(RelayEndpoint):
    @extend_schema(
        operation_id="inbox_ack",
        request={"application/json": schema.shape(leases=_LEASES)},
        responses=_RESULTS,
        examples=[
            OpenApiExample("Leases", value={"leases": [_MESSAGE["lease"]]}, request_only=True),
            OpenApiExample(
                "Delivered",
                value={"results": [{"lease": _MESSAGE["lease"], "result": "delivered", "status": 200}]},
                response_only=True,
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        """The caller has these messages: they are delivered. The same again gets the same answer."""
        said = json_object(request)
        return _results(answers.acknowledge(caller(request), read_leases(said)))


class HandBack(RelayEndpoint):
    @extend_schema(
        operation_id="inbox_nack",
        request={
            "application/json": schema.shape(
                optional=("retryAfter", "reason", "final"),
                leases=_LEASES,
                retryAfter=schema.nullable({"type": "number", "minimum": 0, "maximum": MOST_RETRY_AFTER}),
                reason=schema.nullable(
                    schema.one_line("no such service", LONGEST_REASON), description="One line, for the sender."
                ),
                final={**schema.FLAG, "default": False},
            )
        },
        responses=_RESULTS,
        examples=[
            OpenApiExample("Later", value={"leases": [_MESSAGE["lease"]], "retryAfter": 30}, request_only=True),
            OpenApiExample(
                "Never",
                value={"leases": [_MESSAGE["lease"]], "final": True, "reason": "no such service"},
                request_only=True,
            ),
            OpenApiExample(
                "Due again",
                value={"results": [{"lease": _MESSAGE["lease"], "result": "returned", "status": 200}]},
                response_only=True,
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        """The caller cannot take these messages now: they come again. With `final`: never; their senders are told."""
        said = json_object(request)
        return _results(answers.refuse(caller(request), read_leases(said), read_refusal(said)))


def _results(found: list[Answer]) -> Response:
    rows = [{"lease": each.lease, "result": each.result, "status": _STATUSES.get(each.result, 200)} for each in found]
    return Response({"results": rows})


def number(request: Request, name: str, default: int, *, least: int, most: int) -> int:
    """A whole number of the query; above `most` it is `most`. Raises InvalidInput."""
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < least:
        raise _invalid(name, f"must be a whole number from {least} to {most}, not {text[:50]!r}")
    return min(int(text), most)


def read_leases(said: dict[str, Any]) -> list[str]:
    """The body's leases. Raises InvalidInput."""
    found = said.get("leases")
    if not isinstance(found, list) or not found or not all(map(fields.is_text, found)):
        raise _invalid("leases", "must be a list of leases, as the inbox gave them")
    if len(found) > MOST_LEASES:
        raise _invalid("leases", f"has {len(found)}; at most {MOST_LEASES} at once")
    return found


def read_refusal(said: dict[str, Any]) -> Refusal:
    """The rest of the body of a nack. Raises InvalidInput."""
    final, retry_after = said.get("final", False), said.get("retryAfter")
    if not isinstance(final, bool):
        raise _invalid("final", "must be true or false")
    reason = fields.one_line(said, "reason", LONGEST_REASON)
    is_number = isinstance(retry_after, (int, float)) and not isinstance(retry_after, bool)
    if retry_after is not None and not (is_number and 0 <= retry_after <= MOST_RETRY_AFTER):
        raise _invalid("retryAfter", f"must be a number of seconds from 0 to {MOST_RETRY_AFTER}")
    return Refusal(reason, None if retry_after is None else math.ceil(retry_after), final)


def _invalid(field: str, detail: str) -> InvalidInput:
    return InvalidInput(f"{field} {detail}", errors=[{"field": field, "detail": detail}])

"""`POST /api/v1/messages/batch`: many messages in one request."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import body
from dmr_project.lib.api import moment, problem_of
from dmr_project.lib.errors import DomainError
from participants.authentication import caller, known
from relay import accept, batch, limits, records
from relay.api.messages import RelayEndpoint, observe_accepted
from relay.batch import Result

_COUNT = {"type": "integer"}
_TEXT = {"type": "string"}
_RESULT = {
    "type": "object",
    "properties": {
        "messageId": {**_TEXT, "nullable": True, "description": "As it was written; null where it cannot be read."},
        "status": {**_COUNT, "description": "202, or what the message alone would have been refused with."},
        "acceptedAt": _TEXT,
        "expiresAt": _TEXT,
        "problem": {"type": "object", "description": "Why it was refused, as in application/problem+json."},
    },
}
_ANSWER = {
    "type": "object",
    "properties": {
        "accepted": {**_COUNT, "description": "Stored now, and durable."},
        "repeated": {**_COUNT, "description": "Stored before: the first answer again."},
        "refused": _COUNT,
        "results": {"type": "array", "items": _RESULT},
    },
}


class Batch(RelayEndpoint):
    @extend_schema(
        operation_id="messages_send_batch",
        request={"application/octet-stream": bytes},
        responses={(202, "application/json"): _ANSWER},
    )
    def post(self, request: Request) -> Response:
        """Accepts up to 1,000 messages: 202 once all that are good are stored, with a result for each, in order.

        The body is a record a message: a line of JSON with the headers that `/messages` takes and
        `Content-Length`, a line feed, so many bytes of payload, a line feed. `X-Room` in place of `X-Send-To`
        addresses a room.
        """
        accept.check_may_send(caller(request))
        given = records.read(body.read_whole(request._request.META, body.MOST_BYTES))
        headers = limits.spend(caller(request), len(given), sum(len(each.payload) for each in given))
        results = batch.accept_all(known(request), caller(request), given)
        observe_accepted(request._request.META, "batch")
        accepted = [each.outcome for each in results if isinstance(each.outcome, accept.Accepted)]
        repeated = sum(each.is_repeat for each in accepted)
        return Response(
            {
                "accepted": len(accepted) - repeated,
                "repeated": repeated,
                "refused": len(results) - len(accepted),
                "results": [shape(each) for each in results],
            },
            status=202,
            headers=headers,
        )


def shape(result: Result) -> dict[str, Any]:
    outcome = result.outcome
    if isinstance(outcome, DomainError):
        return {"messageId": result.written_id, "status": outcome.status, "problem": problem_of(outcome)}
    return {
        "messageId": outcome.written_id,
        "status": 202,
        "acceptedAt": moment(outcome.accepted_at),
        "expiresAt": moment(outcome.expires_at),
    }

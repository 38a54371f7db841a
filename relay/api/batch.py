"""`POST /api/v1/messages/batch`: many messages in one request."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import body, schema
from dmr_project.lib.api import moment, problem_of
from dmr_project.lib.errors import DomainError
from participants.authentication import caller, known
from relay import accept, batch, limits, records
from relay.api.messages import AcceptingEndpoint, observe_accepted
from relay.batch import Result

_RESULT = schema.shape(
    optional=("acceptedAt", "expiresAt", "problem"),
    messageId=schema.nullable(
        schema.text(schema.ID["example"]), description="As it was written; null where it cannot be read."
    ),
    status={"type": "integer", "example": 202, "description": "202, or what it would have been refused with alone."},
    acceptedAt=schema.TIME,
    expiresAt=schema.TIME,
    problem={**schema.PROBLEM, "description": "Why it was refused."},
)
_ANSWER = schema.shape(
    accepted={**schema.COUNT, "description": "Stored now, and durable."},
    repeated={**schema.COUNT, "description": "Stored before: the first answer again."},
    refused=schema.COUNT,
    results=schema.array(_RESULT),
)
_RECORDS = {
    "type": "string",
    "format": "binary",
    "example": '{"X-Sent-By": "tax-board", "X-Send-To": "police", '
    '"X-Message-Id": "0b6f5f0e-5c0f-4a55-8a54-0c7f7a3c2a11", "Content-Length": 8}\nSGVsbG8=\n',
}


class Batch(AcceptingEndpoint):
    @extend_schema(
        operation_id="messages_send_batch",
        request={"application/octet-stream": _RECORDS},
        responses=schema.json(_ANSWER, 202),
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

"""Dead letters by API: staff see and handle all, a sender those of its own messages. Never a payload."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import fields, schema
from dmr_project.lib.api import json_object, moment
from dmr_project.lib.errors import NotFound
from participants import history
from participants.authentication import IsParticipantOrStaffKey, IsStaffKey
from participants.directory import Entry
from relay import accept, dead_letter_jobs, dead_letters, envelope
from relay.api.messages import RelayEndpoint
from relay.dead_letters import Handled, Page, Place, Scope, Why
from relay.models import DeadLetterJob

MOST = 500  # dead letters of a page
USUAL = 100
FILTERS = ("recipient", "since", "until")
Action = DeadLetterJob.Action

_WORDS = {**schema.TEXT, "maxLength": fields.LONGEST, "pattern": schema.NO_NUL}
_PLACE = {**schema.TEXT, "pattern": "^([0-9]{1,17}-[0-9]{1,18})?$"}
_NAMED = schema.nullable({**_WORDS, "example": "police"})
_TIME = schema.nullable(schema.TIME)
_COUNTS = {"type": "object", "additionalProperties": schema.COUNT, "example": {"its payload is gone": 2}}
_NONE = {**schema.TEXT, "enum": [None], "nullable": True}
_ONE_MESSAGE = schema.shape(optional=FILTERS, messageId=schema.ID, recipient=_NONE, since=_NONE, until=_NONE)
_TO_ONE = schema.shape(
    optional=("messageId", "since", "until"),
    messageId=_NONE,
    recipient={**_WORDS, "minLength": 1, "example": "police"},
    since=_TIME,
    until=_TIME,
)
_SINCE = schema.shape(
    optional=("messageId", "recipient", "until"), messageId=_NONE, recipient=_NAMED, since=schema.TIME, until=_TIME
)
_ASKED = {
    "description": "`messageId` alone, or `recipient` or `since` or both, with or without `until`.",
    "anyOf": [{**each, "additionalProperties": False} for each in (_ONE_MESSAGE, _TO_ONE, _SINCE)],
}
_LETTER = schema.shape(
    messageId=schema.text(schema.ID["example"]),
    sender=schema.text("tax-board"),
    recipient=schema.text("police"),
    state=schema.choice(("dead", "expired")),
    deadSince=schema.nullable(schema.TIME),
    reason=schema.text("the recipient answered 404"),
    lastStatus=schema.nullable({"type": "integer", "example": 404}),
    attempts=schema.COUNT,
    acceptedAt=schema.TIME,
    obstacle=schema.nullable(schema.text("its payload is gone"), description="Why it cannot be requeued."),
)
_JOB = schema.shape(
    id=schema.ID,
    action=schema.choice(Action.values),
    state=schema.choice(DeadLetterJob.State.values),
    recipient=_NAMED,
    since=_TIME,
    until=schema.TIME,
    requestedBy=schema.text("tax-board"),
    requestedAt=schema.TIME,
    finishedAt=_TIME,
    estimate={**schema.COUNT, "description": "How many there were, counted up to 100,000."},
    done=schema.COUNT,
    left={**_COUNTS, "description": "How many stayed dead letters, by obstacle."},
)
_ONE = schema.shape(done=schema.COUNT, left=_COUNTS)
_HANDLED = {**schema.json(_ONE), **schema.json(_JOB, 202)}


def _number(most: int) -> schema.Schema:
    return {"type": "integer", "minimum": 1, "maximum": most}


class DeadLetterEndpoint(RelayEndpoint):
    """For a participant's key and the staff key alike."""

    permission_classes: Any = (IsParticipantOrStaffKey,)

    def sender_id(self, request: Request) -> int | None:
        """Whose messages the caller may see and handle; None: everybody's."""
        user: Any = request.user
        return user.id if isinstance(user, Entry) else None

    def actor(self, request: Request) -> str:
        user: Any = request.user
        return history.participant(user.name) if isinstance(user, Entry) else history.STAFF_KEY


class DeadLetters(DeadLetterEndpoint):
    @extend_schema(
        operation_id="dead_letters",
        parameters=[
            OpenApiParameter(
                "recipient",
                {**schema.TEXT, "maxLength": fields.LONGEST},
                description="Those to this recipient, by its name.",
            ),
            OpenApiParameter("since", datetime, description="Dead since then, or later."),
            OpenApiParameter("until", datetime, description="Dead since then, or earlier."),
            OpenApiParameter("reason", _WORDS, description="What the reason begins with."),
            OpenApiParameter("status", _number(999), description="The recipient's last answer."),
            OpenApiParameter("limit", _number(MOST), description=f"At most {MOST}; {USUAL} unless given."),
            OpenApiParameter(
                "after",
                {**schema.TEXT, "pattern": "^([0-9]{1,17}-[0-9]{1,18})?$"},
                description="The `next` of the page before.",
            ),
        ],
        responses=schema.json(schema.page("deadLetters", _LETTER)),
    )
    def get(self, request: Request) -> Response:
        """Dead letters that are neither requeued nor discarded, the newest first.

        A page may have fewer than `limit`, or none: there are more as long as `next` is not null.
        """
        asked = request.query_params.dict()
        fields.refuse_unknown(asked, (*FILTERS, "reason", "status", "limit", "after"))
        after = Place.parse(asked["after"]) if asked.get("after") else None
        why = Why(fields.text(asked, "reason"), fields.number(asked, "status", None, 999))
        limit = fields.number(asked, "limit", USUAL, MOST) or USUAL
        page = dead_letters.page(scope_of(asked, self.sender_id(request)), why, after, limit)
        return Response(page_shape(page))


class HandlingEndpoint(DeadLetterEndpoint):
    """Requeues or discards those of one message at once, or many in a job."""

    action: Action

    def handle_message(self, message_id: UUID, request: Request) -> Handled:
        raise NotImplementedError

    def handle(self, request: Request) -> Response:
        user: Any = request.user
        if isinstance(user, Entry):
            accept.check_may_send(user)
        asked = json_object(request)
        fields.refuse_unknown(asked, ("messageId", *FILTERS))
        if asked.get("messageId") is None:
            scope = scope_of(asked, self.sender_id(request))
            job = dead_letter_jobs.start(self.action, scope, actor=self.actor(request))
            return Response(job_shape(job), status=202)
        if len([value for value in asked.values() if value is not None]) > 1:
            raise fields.invalid("messageId", "names the dead letters alone: leave out the rest")
        message_id = envelope.parse_uuid(fields.text(asked, "messageId"))
        if message_id is None:
            raise fields.invalid("messageId", "must be a UUID")
        handled = self.handle_message(message_id, request)
        return Response({"done": handled.count, "left": handled.left})


class Requeue(HandlingEndpoint):
    action = Action.REQUEUE

    @extend_schema(
        operation_id="dead_letters_requeue",
        request={"application/json": _ASKED},
        responses=_HANDLED,
    )
    def post(self, request: Request) -> Response:
        """Tries them again: those of a message at once (200), of a recipient or since a time in a job (202)."""
        return self.handle(request)

    def handle_message(self, message_id: UUID, request: Request) -> Handled:
        sender_id, actor = self.sender_id(request), self.actor(request)
        return dead_letters.requeue_message(message_id, sender_id=sender_id, actor=actor)


class Discard(HandlingEndpoint):
    permission_classes: Any = (IsStaffKey,)
    action = Action.DISCARD

    @extend_schema(
        operation_id="dead_letters_discard",
        request={"application/json": _ASKED},
        responses=_HANDLED,
    )
    def post(self, request: Request) -> Response:
        """Gives them up: those of a message at once (200), of a recipient or since a time in a job (202)."""
        return self.handle(request)

    def handle_message(self, message_id: UUID, request: Request) -> Handled:
        return dead_letters.discard_message(message_id, actor=self.actor(request))


class JobEndpoint(DeadLetterEndpoint):
    action: Action

    def show(self, request: Request, job: UUID) -> Response:
        rows = DeadLetterJob.objects.filter(public_id=job, action=self.action)
        sender_id = self.sender_id(request)
        found = (rows if sender_id is None else rows.filter(sender=sender_id)).first()
        if found is None:
            raise NotFound(f"There is no {self.action} {job} that you asked for.")
        return Response(job_shape(found))


class RequeueJob(JobEndpoint):
    action = Action.REQUEUE

    @extend_schema(operation_id="dead_letters_requeue_progress", responses=schema.json(_JOB))
    def get(self, request: Request, job: UUID) -> Response:
        """How far a requeue of many has come."""
        return self.show(request, job)


class DiscardJob(JobEndpoint):
    permission_classes: Any = (IsStaffKey,)
    action = Action.DISCARD

    @extend_schema(operation_id="dead_letters_discard_progress", responses=schema.json(_JOB))
    def get(self, request: Request, job: UUID) -> Response:
        """How far a discard of many has come."""
        return self.show(request, job)


def scope_of(asked: Mapping[str, Any], sender_id: int | None) -> Scope:
    return Scope(
        sender_id, fields.text(asked, "recipient"), fields.bound(asked, "since"), fields.bound(asked, "until")
    )


def page_shape(page: Page) -> dict[str, Any]:
    return {
        "deadLetters": [
            {
                "messageId": letter.message.written_id,
                "sender": letter.message.sender.name,
                "recipient": letter.recipient_name,
                "state": letter.state,
                "deadSince": moment(letter.ended_at),
                "reason": letter.last_error,
                "lastStatus": letter.last_status,
                "attempts": letter.attempts,
                "acceptedAt": moment(letter.accepted_at),
                "obstacle": letter.obstacle or None,
            }
            for letter in page.letters
        ],
        "next": str(page.next) if page.next else None,
    }


def job_shape(job: DeadLetterJob) -> dict[str, Any]:
    return {
        "id": str(job.public_id),
        "action": job.action,
        "state": job.state,
        "recipient": job.recipient_name or None,
        "since": moment(job.since),
        "until": moment(job.until),
        "requestedBy": job.requested_by,
        "requestedAt": moment(job.requested_at),
        "finishedAt": moment(job.finished_at),
        "estimate": job.estimate,
        "done": job.done,
        "left": job.left,
    }

"""Dead letters by API: staff see and handle all, a sender those of its own messages. Never a payload."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import fields
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

_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_COUNTS = {"type": "object", "additionalProperties": {"type": "integer"}}
_ASKED = {
    "type": "object",
    "properties": {"messageId": _TEXT, "recipient": _TEXT, "since": _TIME, "until": _TIME},
    "description": "`messageId` alone, or `recipient` or `since` or both, with or without `until`.",
}
_PAGE = {
    "type": "object",
    "properties": {
        "deadLetters": {"type": "array", "items": {"type": "object"}},
        "next": {**_TEXT, "nullable": True},
    },
}
_JOB = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "action": {"type": "string", "enum": list(Action.values)},
        "state": {"type": "string", "enum": list(DeadLetterJob.State.values)},
        **{name: {**_TEXT, "nullable": True} for name in ("recipient", "since")},
        "until": _TIME,
        "requestedBy": _TEXT,
        "requestedAt": _TIME,
        "finishedAt": {**_TIME, "nullable": True},
        "estimate": {"type": "integer", "description": "How many there were, counted up to 100,000."},
        "done": {"type": "integer"},
        "left": {**_COUNTS, "description": "How many stayed dead letters, by obstacle."},
    },
}
_ONE = {"type": "object", "properties": {"done": {"type": "integer"}, "left": _COUNTS}}


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
            OpenApiParameter("recipient", str, description="Those to this recipient, by its name."),
            OpenApiParameter("since", datetime, description="Dead since then, or later."),
            OpenApiParameter("until", datetime, description="Dead since then, or earlier."),
            OpenApiParameter("reason", str, description="What the reason begins with."),
            OpenApiParameter("status", int, description="The recipient's last answer."),
            OpenApiParameter("limit", int, description=f"At most {MOST}; {USUAL} unless given."),
            OpenApiParameter("after", str, description="The `next` of the page before."),
        ],
        responses={(200, "application/json"): _PAGE},
    )
    def get(self, request: Request) -> Response:
        """Dead letters that are neither requeued nor discarded, the newest first.

        A page may have fewer than `limit`, or none: there are more as long as `next` is not null.
        """
        asked = request.query_params.dict()
        fields.refuse_unknown(asked, (*FILTERS, "reason", "status", "limit", "after"))
        after = Place.parse(asked["after"]) if asked.get("after") else None
        why = Why(asked.get("reason", ""), fields.number(asked, "status", None, 999))
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
        responses={(200, "application/json"): _ONE, (202, "application/json"): _JOB},
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
        responses={(200, "application/json"): _ONE, (202, "application/json"): _JOB},
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

    @extend_schema(operation_id="dead_letters_requeue_progress", responses={(200, "application/json"): _JOB})
    def get(self, request: Request, job: UUID) -> Response:
        """How far a requeue of many has come."""
        return self.show(request, job)


class DiscardJob(JobEndpoint):
    permission_classes: Any = (IsStaffKey,)
    action = Action.DISCARD

    @extend_schema(operation_id="dead_letters_discard_progress", responses={(200, "application/json"): _JOB})
    def get(self, request: Request, job: UUID) -> Response:
        """How far a discard of many has come."""
        return self.show(request, job)


def scope_of(asked: Mapping[str, Any], sender_id: int | None) -> Scope:
    return Scope(sender_id, fields.text(asked, "recipient"), fields.time(asked, "since"), fields.time(asked, "until"))


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

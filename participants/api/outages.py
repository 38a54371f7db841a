"""Outages by API: what is announced, announcing one's own, ending it, and the same as a calendar."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone, translation
from django.views.decorators.http import require_safe
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from dmr_project.lib import fields, schema
from dmr_project.lib.api import APIEndpoint, json_object
from dmr_project.lib.errors import Forbidden, NotFound
from participants import calendar_feeds, history, outage_calendar, outages
from participants.authentication import ApiKeyAuthentication, IsParticipant, IsParticipantOrStaffKey, caller
from participants.directory import Entry
from participants.models import ActorKind, Institution, Outage, Participant
from participants.scopes import Scope

MOST = 500
USUAL = 100
CORE = "Core"  # who announced it, where it was a member of staff
OWN = ("kind", "beginsAt", "endsAt", "text")
STAFF = (*OWN, "participants", "institution")

_WORDS = {**schema.TEXT, "maxLength": fields.LONGEST, "pattern": schema.NO_NUL}
_TEXTS = schema.shape(
    optional=("et", "en"),
    et=schema.nullable({**_WORDS, "example": "Uuendame andmebaasi."}),
    en=schema.nullable({**_WORDS, "example": "The database is upgraded."}),
)
_LIMIT = {"type": "integer", "minimum": 1, "maximum": MOST}
_AFTER = {**schema.TEXT, "pattern": "^[1-9][0-9]{0,8}$"}
_OPEN_TIME = schema.nullable(schema.TIME)
_ASKED = {
    **schema.shape(
        optional=("beginsAt", "endsAt", "participants", "institution"),
        kind=schema.choice(Outage.Kind.values),
        beginsAt={**_OPEN_TIME, "description": "Now unless given."},
        endsAt={**_OPEN_TIME, "description": "Left out of an unplanned one: until it is ended."},
        text={**_TEXTS, "additionalProperties": False, "description": "For people, in one language or both."},
        participants=schema.nullable(
            schema.array(schema.text("tax-board")), description="By name; with the staff key alone."
        ),
        institution=schema.nullable(schema.ID, description="All of it; with the staff key alone."),
    ),
    "additionalProperties": False,
}
_OUTAGE = schema.shape(
    id=schema.ID,
    kind=schema.choice(Outage.Kind.values),
    state=schema.choice(Outage.State.values),
    beginsAt=schema.TIME,
    endsAt={**_OPEN_TIME, "description": "null: until it is ended."},
    endedAt=_OPEN_TIME,
    participants=schema.array(schema.text("tax-board"), description="Names; empty where it is an institution's."),
    institution=schema.nullable(schema.shape(id=schema.ID, name=schema.text("Tax Board"))),
    text=_TEXTS,
    announcedBy=schema.text("participant tax-board"),
    announcedAt=schema.TIME,
)
_ADDRESS = schema.shape(
    url={**schema.TEXT, "format": "uri", "example": "https://dmr.example/api/v1/outages/calendar/t.ics"}
)
_EXAMPLE = OpenApiExample(
    "Planned",
    value={
        "kind": "planned",
        "beginsAt": "2026-05-06T20:00:00Z",
        "endsAt": "2026-05-06T22:00:00Z",
        "text": {"et": "Uuendame andmebaasi.", "en": "The database is upgraded."},
    },
    request_only=True,
)


class OutageEndpoint(APIEndpoint):
    """For a participant's key and the staff key alike."""

    authentication_classes = (ApiKeyAuthentication,)
    permission_classes: Any = (IsParticipantOrStaffKey,)
    scope = Scope.REGISTRY

    def owner_id(self, request: Request) -> int | None:
        """The participant that is calling; None: staff."""
        user: Any = request.user
        return user.id if isinstance(user, Entry) else None

    def actor(self, request: Request) -> str:
        user: Any = request.user
        return history.participant(user.name) if isinstance(user, Entry) else history.STAFF_KEY

    def find(self, outage: UUID) -> Outage:
        rows = Outage.objects.select_related("institution").prefetch_related("participants")
        found = rows.filter(public_id=outage).first()
        if found is None:
            raise NotFound(f"There is no outage {outage}.")
        return found


class Outages(OutageEndpoint):
    @extend_schema(
        operation_id="outages",
        parameters=[
            OpenApiParameter("since", datetime, description="Those that were over since then too."),
            OpenApiParameter("participant", _WORDS, description="Those that affect this participant, by its name."),
            OpenApiParameter(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": MOST},
                description=f"At most {MOST}; {USUAL} unless given.",
            ),
            OpenApiParameter("after", _AFTER, description="The `next` of the page before."),
        ],
        responses=schema.json(schema.page("outages", _OUTAGE)),
    )
    def get(self, request: Request) -> Response:
        """Outages that are now or next, in the order in which they were announced."""
        asked = request.query_params.dict()
        fields.refuse_unknown(asked, ("since", "participant", "limit", "after"))
        now = timezone.now()
        since = fields.bound(asked, "since")
        rows = Outage.objects.not_over(now) if since is None else Outage.objects.ended_after(since)
        if asked.get("participant"):
            rows = rows.affecting(fields.text(asked, "participant"))
        limit = fields.number(asked, "limit", USUAL, MOST) or USUAL
        after = fields.number(asked, "after", None, 10**9 - 1)
        if after is not None:
            rows = rows.filter(pk__gt=after)
        found = list(rows.select_related("institution").prefetch_related("participants").order_by("pk")[: limit + 1])
        more = str(found[limit - 1].pk) if len(found) > limit else None
        return Response({"outages": [shape(row, now) for row in found[:limit]], "next": more})

    @extend_schema(
        operation_id="outages_announce",
        request={"application/json": _ASKED},
        responses=schema.json(_OUTAGE, 200, 201),
        examples=[_EXAMPLE],
    )
    def post(self, request: Request) -> Response:
        """Announces the caller's own outage; staff, anybody's. What was announced before is answered by 200."""
        now = timezone.now()
        owner_id = self.owner_id(request)
        asked = json_object(request)
        fields.refuse_unknown(asked, STAFF if owner_id is None else OWN)
        outage = read(asked, now)
        outage.owner = None if owner_id is None else Participant.objects.get(pk=owner_id)
        affected = named(asked) if owner_id is None else []
        said = outages.announce(outage, actor=self.actor(request), participants=affected)
        return Response(shape(said, now), status=201 if said is outage else 200)


class OneOutage(OutageEndpoint):
    @extend_schema(operation_id="outages_one", responses=schema.json(_OUTAGE))
    def get(self, request: Request, outage: UUID) -> Response:
        """One outage, over or not."""
        return Response(shape(self.find(outage), timezone.now()))


class EndOutage(OutageEndpoint):
    @extend_schema(operation_id="outages_end", request=None, responses=schema.json(_OUTAGE))
    def post(self, request: Request, outage: UUID) -> Response:
        """It is over, or will not be: a participant says so of what it announced itself."""
        found = self.find(outage)
        owner_id = self.owner_id(request)
        if owner_id is not None and found.owner_id != owner_id:
            raise Forbidden("Somebody else announced this outage; only they and staff can end it.")
        ended = outages.end(found, actor=self.actor(request), owner_id=owner_id)
        return Response(shape(ended, timezone.now()))


class Calendar(OutageEndpoint):
    @extend_schema(operation_id="outages_calendar", responses={(200, "text/calendar"): schema.TEXT})
    def get(self, request: Request) -> HttpResponse:
        """The same as iCalendar (RFC 5545): what is now and next, and what was over in the last 90 days."""
        return calendar_response()


class CalendarAddress(OutageEndpoint):
    permission_classes: Any = (IsParticipant,)

    @extend_schema(
        operation_id="outages_calendar_address",
        request=None,
        responses=schema.json(_ADDRESS),
    )
    def post(self, request: Request) -> Response:
        """An address of the calendar for calendar programs, which can send no key. The one before is void."""
        row = Participant.objects.select_related("institution").get(pk=caller(request).id)
        said = Response({"url": calendar_feeds.make(participant=row)})
        said["Cache-Control"] = "no-store"
        return said


@require_safe
def by_address(request: HttpRequest, token: str) -> HttpResponse:
    """The calendar, for whoever has its address; with `?lang=et` in Estonian."""
    calendar_feeds.find(token)
    asked = request.GET.get("lang")
    with translation.override(asked if asked in dict(settings.LANGUAGES) else settings.LANGUAGE_CODE):
        return calendar_response()


def calendar_response() -> HttpResponse:
    said = HttpResponse(outage_calendar.feed(timezone.now()), content_type="text/calendar; charset=utf-8")
    said["Content-Disposition"] = 'inline; filename="dmr-outages.ics"'
    said["Cache-Control"] = "private, max-age=60"
    return said


def read(asked: Mapping[str, Any], now: datetime) -> Outage:
    """The outage that a body describes, not saved. Raises InvalidInput."""
    texts = asked.get("text")
    if not isinstance(texts, dict):
        raise fields.invalid("text", 'must be an object such as {"et": "…", "en": "…"}')
    fields.refuse_unknown(texts, ("et", "en"))
    institution = None
    if asked.get("institution") is not None:
        institution = Institution.objects.present().filter(public_id=_uuid(asked)).first()
        if institution is None:
            raise fields.invalid("institution", "is not the id of an institution")
    return Outage(
        kind=fields.text(asked, "kind"),
        begins_at=fields.time(asked, "beginsAt") or now,
        ends_at=fields.time(asked, "endsAt"),
        text_et=fields.text(texts, "et").strip(),
        text_en=fields.text(texts, "en").strip(),
        institution=institution,
    )


def named(asked: Mapping[str, Any]) -> list[Participant]:
    """Raises InvalidInput, which names who is not there."""
    wanted = asked.get("participants")
    if wanted is None:
        return []
    if not isinstance(wanted, list) or not all(isinstance(each, str) for each in wanted) or len(wanted) > 5000:
        raise fields.invalid("participants", "must be a list of names")
    found = {row.name: row for row in Participant.objects.present().filter(name__in=wanted)}
    missing = [each for each in wanted if each not in found]
    if missing:
        raise fields.invalid("participants", f"has {missing[0][:100]!r}, which is nobody's name")
    return list(found.values())


def shape(outage: Outage, now: datetime) -> dict[str, Any]:
    is_by_person = outage.announced_by_kind == ActorKind.PERSON  # what staff log in by is no business of others
    announced_by = CORE if is_by_person else outage.announced_by
    return {**outages.said(outage), "state": outage.state(now).value, "announcedBy": announced_by}


def _uuid(asked: Mapping[str, Any]) -> UUID:
    try:
        return UUID(fields.text(asked, "institution"))
    except ValueError:
        raise fields.invalid("institution", "must be a UUID") from None

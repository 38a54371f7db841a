"""What every endpoint shares: errors as problem+json, and an endpoint that denies by default.

Errors are RFC 9457 problems: `{"type", "title", "status", "detail", "errors"?: [{"field"|"header", "detail"}]}`
with `type` = `urn:problem-type:dmr:<code>`, which stays the same for ever.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from rest_framework import exceptions, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, set_rollback

from dmr_project.lib import storage
from dmr_project.lib.errors import DomainError, InvalidInput
from dmr_project.lib.log import event

logger = logging.getLogger(__name__)

PROBLEM_TYPE = "application/problem+json"
DATABASE_AWAY = (OperationalError, InterfaceError)
RETRY_SECONDS = 5

# The codes of what Django and DRF raise by themselves.
CODES = {
    400: ("bad-request", "The request cannot be understood"),
    401: ("no-credential", "No valid credential"),
    403: ("forbidden", "Not allowed"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "This method is not for this address"),
    408: ("body-stalled", "The body did not arrive in time"),
    409: ("conflict", "In conflict with what is there"),
    411: ("length-required", "A Content-Length is required"),
    413: ("payload-too-large", "The payload is too large"),
    415: ("unsupported-media-type", "This content type is not for this address"),
    429: ("too-many-requests", "Too many requests"),
    500: ("internal-error", "Something failed on our side"),
    503: ("unavailable", "Cannot be served just now"),
}


def problem(
    status_code: int, detail: str, *, code: str = "", title: str = "", errors: list[dict[str, str]] | None = None
) -> dict[str, Any]:
    """The body of a problem."""
    known = CODES.get(status_code, ("error", "The request failed"))
    body: dict[str, Any] = {
        "type": f"urn:problem-type:dmr:{code or known[0]}",
        "title": title or known[1],
        "status": status_code,
        "detail": detail,
    }
    if errors:
        body["errors"] = errors
    return body


def problem_of(error: DomainError) -> dict[str, Any]:
    return problem(error.status, error.detail, code=error.code, title=error.title, errors=error.errors)


def problem_response(error: DomainError) -> HttpResponse:
    """A problem outside DRF: in middleware, and in Django's own views."""
    said = problem_of(error)
    return HttpResponse(json.dumps(said), status=error.status, content_type=PROBLEM_TYPE, headers=dict(error.headers))


def plain_problem(status_code: int, detail: str) -> HttpResponse:
    """A problem that no DomainError stands for, such as Django's own 404 and 500."""
    return HttpResponse(json.dumps(problem(status_code, detail)), status=status_code, content_type=PROBLEM_TYPE)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's hook: every error of an API view becomes a problem."""
    headers: dict[str, str] = {}
    if isinstance(error, DomainError):
        said = problem_of(error)
        headers.update(error.headers)
    elif isinstance(error, Http404):
        said = problem(404, "There is no such thing here.")
    elif isinstance(error, RequestDataTooBig):
        said = problem(413, f"The body may have at most {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes here.")
    elif isinstance(error, PermissionDenied):
        said = problem(403, "This credential may not do that.")
    elif isinstance(error, DATABASE_AWAY):
        said, headers["Retry-After"] = _database_problem(error)
    elif isinstance(error, exceptions.APIException):
        said = problem(error.status_code, _sentence(error.detail))
        if getattr(error, "auth_header", None):
            headers["WWW-Authenticate"] = error.auth_header  # type: ignore[attr-defined]
    else:
        event(logger, "request_failed", logging.ERROR, error=type(error).__name__)
        return None  # Django's own handling: logged with its traceback, answered by handler500.
    set_rollback()
    return Response(said, status=said["status"], headers=headers, content_type=PROBLEM_TYPE)


def _database_problem(error: BaseException) -> tuple[dict[str, Any], str]:
    """What to say of a database that cannot be used, and when to try again."""
    again = "Send the same again, with the same message id."
    if storage.is_full(error):
        storage.note_full()
        said = problem(
            503,
            f"Our disk is full, and nothing was stored. {again}",
            code="storage-full",
            title="Nothing more can be stored just now",
        )
        return said, str(storage.REMEMBERED_SECONDS)
    event(logger, "database_unavailable", logging.ERROR, error=type(error).__name__)
    if storage.is_read_only(error):
        return problem(503, f"The database is read-only just now, and nothing was stored. {again}"), str(
            RETRY_SECONDS
        )
    return problem(503, f"The database cannot be reached just now. {again}"), str(RETRY_SECONDS)


def _sentence(detail: Any) -> str:
    if isinstance(detail, dict):
        return "; ".join(f"{name}: {_sentence(value)}" for name, value in detail.items())
    if isinstance(detail, list):
        return " ".join(_sentence(value) for value in detail)
    return str(detail)


def moment(at: datetime | None) -> str | None:
    """ISO 8601 in UTC, with milliseconds."""
    return at.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None


def json_object(request: Request) -> dict[str, Any]:
    """The request's body, which must be a JSON object. Raises InvalidInput."""
    if not isinstance(request.data, dict):
        raise InvalidInput("The body must be a JSON object.")
    return request.data


class APIEndpoint(APIView):
    """The root of our API views. Each names its own authentication and permissions: the default denies."""

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        raise exceptions.MethodNotAllowed("OPTIONS")


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return plain_problem(400, "The request cannot be understood; check its Host header, address and body.")


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return plain_problem(status.HTTP_403_FORBIDDEN, "This is not allowed.")


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return plain_problem(404, "There is nothing at this address; see /api/docs/ for what there is.")


def server_error(request: HttpRequest) -> HttpResponse:
    error = sys.exc_info()[1]  # Django asks for this answer while it handles the error
    if isinstance(error, DATABASE_AWAY):
        return unavailable(request, error)
    return plain_problem(500, "Something failed on our side. It is logged; nothing that we answered 202 for is lost.")


def unavailable(request: HttpRequest, error: BaseException) -> HttpResponse:
    """503 outside of API views, as a page for people in the admin: the database is away, whoever noticed it."""
    event(logger, "database_unavailable", logging.ERROR, error=type(error).__name__)
    if request.path_info.startswith("/admin/"):
        page = render_to_string("unavailable.html", {"is_read_only": storage.is_read_only(error)})
        response = HttpResponse(page, status=503)
        response["Cache-Control"] = "no-store"
    else:
        why = "is read-only" if storage.is_read_only(error) else "cannot be reached"
        response = plain_problem(503, f"The database {why} just now. Try again in a few seconds.")
    response["Retry-After"] = str(RETRY_SECONDS)
    return response

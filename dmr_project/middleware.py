"""What is done to every request and answer, whatever view it meets."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from urllib.parse import unquote

from django.conf import settings
from django.db import DataError
from django.http import HttpRequest, HttpResponse
from prometheus_client import Counter

from dmr_project import metrics
from dmr_project.lib import origin
from dmr_project.lib.api import DATABASE_AWAY, problem_response, unavailable
from dmr_project.lib.errors import DomainError, InvalidInput
from dmr_project.lib.network import client_address, is_within, parse_address
from dmr_project.pages import is_for_machines

Respond = Callable[[HttpRequest], HttpResponse]


class VersionHeader:
    """`X-Byk-DMR-Version` on every answer; counts those to machines."""

    def __init__(self, respond: Respond) -> None:
        self.respond = respond

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.respond(request)
        response["X-Byk-DMR-Version"] = settings.VERSION
        if is_for_machines(request):
            _answered(response.status_code).inc()
        return response


@lru_cache(maxsize=100)
def _answered(status: int) -> Counter:
    return metrics.ANSWERS.labels(status=str(status))


class ProxyAddress:
    """Believes X-Forwarded-For and X-Forwarded-Proto of DMR_TRUSTED_PROXIES, and of nobody else.

    The address thus found is the origin of whatever the request does, for the audit log.
    """

    def __init__(self, respond: Respond) -> None:
        self.respond = respond

    def __call__(self, request: HttpRequest) -> HttpResponse:
        trusted = settings.TRUSTED_PROXIES
        if trusted:
            direct = parse_address(request.META.get("REMOTE_ADDR", ""))
            if direct is not None and is_within(direct, trusted):
                request.META["REMOTE_ADDR"] = client_address(request.META, trusted)
                if request.META.get("HTTP_X_FORWARDED_PROTO", "").strip().lower() == "https":
                    request.META["wsgi.url_scheme"] = request.environ["wsgi.url_scheme"] = "https"  # type: ignore[attr-defined]
        with origin.of(request.META.get("REMOTE_ADDR", "")):
            return self.respond(request)


class Problems:
    """DomainErrors that are raised outside of API views, and bodies that could not be read, as problem+json.

    A database that is away is 503 everywhere.
    """

    def __init__(self, respond: Respond) -> None:
        self.respond = respond

    def __call__(self, request: HttpRequest) -> HttpResponse:
        broken: DomainError | None = request.META.get("dmr.body_error")  # set by dmr_project.rsgi
        if broken is None and holds_nul(request.META.get("QUERY_STRING", ""), request.META.get("HTTP_COOKIE", "")):
            broken = InvalidInput("No value may hold the character NUL.")
        return problem_response(broken) if broken is not None else self.respond(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, DATABASE_AWAY):
            return unavailable(request, exception)
        if isinstance(exception, (ValueError, DataError)) and "NUL" in str(exception):
            exception = InvalidInput("No value may hold the character NUL.")  # in a form; PostgreSQL takes none
        return problem_response(exception) if isinstance(exception, DomainError) else None


def holds_nul(query: str, cookies: str) -> bool:
    """In any of their spellings: no database takes it as text."""
    return "\x00" in unquote(query) or "\x00" in cookies or "\\000" in cookies

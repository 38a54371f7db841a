"""What is done to every request and answer, whatever view it meets."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any
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
        response = self.mark(self.respond(request))
        if is_for_machines(request):
            count_answer(response.status_code)
        return response

    @staticmethod
    def mark(response: HttpResponse) -> HttpResponse:
        response["X-Byk-DMR-Version"] = settings.VERSION
        return response


def count_answer(status: int) -> None:
    """An answer to a machine."""
    _answered(status).inc()


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
        if is_from_proxy(request.META):
            scheme = believed_scheme(request.META)
            request.META["wsgi.url_scheme"] = request.environ["wsgi.url_scheme"] = scheme  # type: ignore[attr-defined]
            request.META.update(said_by_proxy(request.META))
        with origin.of(request.META.get("REMOTE_ADDR", "")):
            return self.respond(request)


def said_by_proxy(environ: dict[str, Any]) -> dict[str, Any]:
    """Of a request that a trusted proxy has passed on: its client's address. Empty for any other."""
    if not is_from_proxy(environ):
        return {}
    return {"REMOTE_ADDR": client_address(environ, settings.TRUSTED_PROXIES), "dmr.is_from_proxy": True}


def is_from_proxy(environ: dict[str, Any]) -> bool:
    """Does a request come from one of DMR_TRUSTED_PROXIES?"""
    trusted = settings.TRUSTED_PROXIES
    direct = parse_address(environ.get("REMOTE_ADDR", "")) if trusted else None
    return direct is not None and is_within(direct, trusted)


def believed_scheme(environ: dict[str, Any]) -> str:
    """`https` where a trusted proxy says so, else how the request has come to us."""
    says_https = environ.get("HTTP_X_FORWARDED_PROTO", "").strip().lower() == "https"
    scheme: str = environ["wsgi.url_scheme"]
    return "https" if says_https and is_from_proxy(environ) else scheme


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

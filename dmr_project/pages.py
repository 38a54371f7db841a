"""Middleware for pages that people see: sessions, forms, files. Machines bear a key and no session, and pass it by.

It is a third of what accepting a message costs in the process. See settings.MIDDLEWARE.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.common import CommonMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.locale import LocaleMiddleware
from django.utils import translation
from django_prometheus.middleware import PrometheusAfterMiddleware, PrometheusBeforeMiddleware
from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]

# Where only machines call. No view below these may rely on a session: there is none, so that none can be forged.
_FOR_MACHINES = ("/messages", "/unclassified", "/classified", "/conversations/", "/api/v1/", "/centops/")


def is_for_machines(request: HttpRequest) -> bool:
    return request.path_info.startswith(_FOR_MACHINES)


class _OnPages:
    """Steps aside for machines."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:
        if is_for_machines(request):
            return self.get_response(request)
        return super().__call__(request)  # type: ignore[misc]


class Measured(_OnPages, PrometheusBeforeMiddleware):  # type: ignore[misc]
    pass


class MeasuredInside(_OnPages, PrometheusAfterMiddleware):  # type: ignore[misc]
    def process_view(self, request: HttpRequest, *arguments: Any, **named: Any) -> None:
        if not is_for_machines(request):
            super().process_view(request, *arguments, **named)

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        if not is_for_machines(request):
            super().process_exception(request, exception)

    def process_template_response(self, request: HttpRequest, response: Any) -> Any:
        return response if is_for_machines(request) else super().process_template_response(request, response)


class Files(_OnPages, WhiteNoiseMiddleware):  # type: ignore[misc]
    pass


class Common(_OnPages, CommonMiddleware):
    pass


class Sessions(_OnPages, SessionMiddleware):
    pass


class Languages(LocaleMiddleware):
    """The admin's: the language that was chosen there, else what the browser asks for.

    Other pages have their own way, and what machines are told is English.
    """

    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith("/admin/"):
            with translation.override(settings.LANGUAGE_CODE):  # what is chosen for this request ends with it
                return super().__call__(request)
        return self.get_response(request)


class Csrf(_OnPages, CsrfViewMiddleware):
    def process_view(self, request: HttpRequest, *arguments: Any) -> Any:
        return None if is_for_machines(request) else super().process_view(request, *arguments)


class Users(_OnPages, AuthenticationMiddleware):
    pass


class Messages(_OnPages, MessageMiddleware):
    pass


class Frames(_OnPages, XFrameOptionsMiddleware):
    pass

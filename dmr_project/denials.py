"""Staff who may not do what they asked for: answered as every error is, and noted."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from dmr_project.lib import api
from participants import log_ins


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's handler of 403 outside of API views."""
    log_ins.denied(request)
    return api.permission_denied(request, exception)

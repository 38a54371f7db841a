"""What Django's middleware does to an answer, for those that do without it (relay.api.express)."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.middleware.security import SecurityMiddleware

from dmr_project.middleware import VersionHeader, believed_scheme, count_answer
from relay.api import express

Answer = tuple[int, list[tuple[str, str]], bytes]  # status, headers, body


def is_plain(environ: dict[str, Any]) -> bool:
    """Is this a message whose body has arrived, with nothing that middleware or a URL pattern has to look at?"""
    return (
        environ["PATH_INFO"] == express.PATH
        and environ["REQUEST_METHOD"] == "POST"
        and not environ["QUERY_STRING"]
        and "HTTP_COOKIE" not in environ
        and "dmr.body_error" not in environ
    )


async def respond(environ: dict[str, Any]) -> Answer | None:
    """202 with what every answer bears; None where Django is to answer."""
    taken = await express.take(environ)
    if taken is None:
        return None
    left, body = taken
    count_answer(202)
    headers = [*_headers_of_all(believed_scheme(environ)), *((name.lower(), value) for name, value in left.items())]
    return 202, headers, body


@lru_cache(maxsize=2)
def _headers_of_all(scheme: str) -> list[tuple[str, str]]:
    """As Django would answer."""
    response = HttpResponse(content_type="application/json", headers={"Allow": "POST, OPTIONS"})
    request = WSGIRequest({"REQUEST_METHOD": "POST", "wsgi.url_scheme": scheme, "wsgi.input": io.BytesIO()})
    VersionHeader.mark(response)
    SecurityMiddleware(lambda _: response).process_response(request, response)
    return [(name.lower(), value) for name, value in response.items()]

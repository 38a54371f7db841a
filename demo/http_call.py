"""One HTTP call: no proxy, no redirect, any status is an answer."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message as Headers
from typing import Any

SECONDS = 10.0


class Unreachable(Exception):
    """No answer; the text says why."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Headers
    body: bytes

    def json(self) -> Any:
        """Raises ValueError where the body is none."""
        return json.loads(self.body)

    def __str__(self) -> str:
        return f"{self.status} {self.body[:300].decode(errors='replace')}".strip()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def call(
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    seconds: float = SECONDS,
) -> Answer:
    """Raises Unreachable."""
    request = urllib.request.Request(url, data=body, headers=dict(headers or {}), method=method)
    try:
        try:
            with _opener.open(request, timeout=seconds) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())
    except urllib.error.URLError as error:
        raise Unreachable(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(str(error) or type(error).__name__) from error


def call_json(method: str, url: str, content: object = None, headers: Mapping[str, str] | None = None) -> Answer:
    """A call with a JSON body, or none. Raises Unreachable."""
    if content is None:
        return call(method, url, headers)
    body = json.dumps(content, ensure_ascii=False).encode()
    return call(method, url, {**(headers or {}), "Content-Type": "application/json"}, body)

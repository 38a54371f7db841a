"""JSON in and out, whatever the client says of content types. Named in settings.REST_FRAMEWORK."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from dmr_project.lib import body
from dmr_project.lib.errors import InvalidInput

JSON_LIMIT_BYTES = 1024 * 1024


class OneRenderer(BaseContentNegotiation):
    """The answer's type does not depend on Accept: clients of the network send anything there."""

    def select_parser(self, request: Request, parsers: Sequence[BaseParser]) -> BaseParser:
        return parsers[0]

    def select_renderer(
        self, request: Request, renderers: Sequence[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type or "application/json"


class StrictJSONParser(JSONParser):
    """JSON of at most JSON_LIMIT_BYTES whatever its content type says, and each error in one sentence."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        environ = parser_context["request"]._request.META
        raw = body.read_whole(environ, JSON_LIMIT_BYTES) if "wsgi.input" in environ else stream.read()
        try:
            value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
        except UnicodeDecodeError:
            raise InvalidInput("The body is not UTF-8.") from None
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"The body is not JSON: {error}.") from None
        return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")

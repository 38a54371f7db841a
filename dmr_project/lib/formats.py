"""JSON in and out, whatever the client says of content types. Named in settings.REST_FRAMEWORK."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from dmr_project.lib.errors import InvalidInput


class OneRenderer(BaseContentNegotiation):
    """The answer's type does not depend on Accept: clients of the network send anything there."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        return next(iter(parsers))

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        first = next(iter(renderers))
        return first, first.media_type or "application/json"


class StrictJSONParser(JSONParser):
    """JSON whatever its content type says, and each error in one sentence.

    Its size is limited by settings.DATA_UPLOAD_MAX_MEMORY_SIZE.
    """

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            return json.loads(stream.read().decode("utf-8"), parse_constant=_refuse_constant)
        except UnicodeDecodeError:
            raise InvalidInput("The body is not UTF-8.") from None
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"The body is not JSON: {error}.") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")

"""The two calls to DMR: check-in and report. Their shapes: docs/agent.md."""

from __future__ import annotations

import json
from typing import Any

from dmr_agent import __version__, canonical, config, http_call, log
from dmr_agent.errors import AgentError

ANSWER_LIMIT = 4 << 20  # bytes; a manifest of 1 MiB in base64, signatures, and room
SUCCESS = (200, 201, 202)
REFUSALS = (400, 404, 409, 410, 413, 415, 422)  # the same request would be answered the same way again


class ServerAway(AgentError):
    """No answer that can be used; the same call is worth repeating later."""


class Refused(AgentError):
    """The server understood and said no; repeating would not help."""


class Server:
    def __init__(self, settings: config.Config) -> None:
        self._settings = settings

    def check_in(self, body: dict[str, Any]) -> dict[str, Any]:
        """→ `{"nextCheckInSeconds", "offer"}`, as yet unchecked. Raises ServerAway, Refused."""
        return self._post("check-in", body)

    def report(self, body: dict[str, Any]) -> str | None:
        """→ the target's state as the server has it. Raises ServerAway, Refused."""
        state = self._post("report", body).get("state")
        return state if isinstance(state, str) else None

    def _post(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = http_call.call(
                "POST",
                f"{self._settings.server}/api/v1/agent/{name}",
                timeout=self._settings.server_timeout_seconds,
                limit=ANSWER_LIMIT,
                headers={
                    "X-Api-Key": config.read_api_key(self._settings.api_key_file),
                    "Content-Type": "application/json",
                    "Accept": "application/json",
                    "User-Agent": f"dmr-agent/{__version__}",
                },
                body=json.dumps(body).encode("ascii"),
            )
        except (http_call.CallFailed, config.ConfigInvalid) as error:
            raise ServerAway(str(error)) from error
        return _understand(answer)


def _understand(answer: http_call.Answer) -> dict[str, Any]:
    try:
        content = canonical.loads(answer.body) if answer.body else None
    except canonical.NotJson as error:
        # A proxy's error page, whatever its status, is not DMR's word.
        raise ServerAway(f"answered {answer.status} with something that is {error}") from error
    if answer.status in SUCCESS:
        if isinstance(content, dict):
            return content
        raise ServerAway(f"answered {answer.status} without a JSON object")
    problem = content if isinstance(content, dict) else {}
    said = log.printable(str(problem.get("detail") or problem.get("title") or ""), 200)
    text = f"answered {answer.status}" + (f": {said}" if said else "")
    if 300 <= answer.status < 400:
        raise ServerAway(f"{text}, a redirect, which is not followed")
    if answer.status in REFUSALS:
        raise Refused(text)
    raise ServerAway(text)

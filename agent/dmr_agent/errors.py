"""The root of what the agent raises; each module's own errors stand beside what raises them."""

from __future__ import annotations


class AgentError(Exception):
    """The text is one line for people; `exit_code` is what the program ends with when nobody catches it."""

    exit_code = 1

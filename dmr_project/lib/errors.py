"""The root of all errors that a caller may see."""

from __future__ import annotations

from collections.abc import Mapping


class DomainError(Exception):
    """Something the caller can mend. `dmr_project.lib.api` renders it as problem+json (RFC 9457).

    `status` is the HTTP status, `code` the stable last part of the problem's type, `title` the same for
    every occurrence. `detail` says what to mend in this one; `errors` names each bad field or header.
    """

    status = 400
    code = "bad-request"
    title = "The request cannot be accepted"

    def __init__(self, detail: str, *, errors: list[dict[str, str]] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors or []

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that the answer must bear."""
        return {}


class InvalidInput(DomainError):
    """A field or header that does not hold what it must. HTTP 400."""

    code = "invalid-input"
    title = "The request has an invalid value"


class NotFound(DomainError):
    """No such thing, or none that this caller may see. HTTP 404."""

    status = 404
    code = "not-found"
    title = "Not found"


class Forbidden(DomainError):
    """Known, but not allowed. HTTP 403."""

    status = 403
    code = "forbidden"
    title = "Not allowed"


class Conflict(DomainError):
    """What is asked contradicts what is there. HTTP 409."""

    status = 409
    code = "conflict"
    title = "In conflict with what is there"

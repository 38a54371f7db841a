"""Why somebody does not come in by single sign-on."""

from __future__ import annotations


class Refused(Exception):
    """`why` is a short constant, for metrics and the log; `detail` is for our log, and `said` for whoever tries."""

    def __init__(self, why: str, detail: str, said: str = "") -> None:
        super().__init__(detail)
        self.why = why
        self.detail = detail
        self.said = said


class ProviderFailed(Refused):
    """The provider cannot be reached, or answers what it must not."""

    def __init__(self, detail: str) -> None:
        super().__init__("provider", detail)


class BadToken(Refused):
    """The ID token is not to be believed."""

    def __init__(self, detail: str) -> None:
        super().__init__("token", detail)

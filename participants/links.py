"""Links that open something for whoever has them: a token of 256 random bits, of which the database has the hash."""

from __future__ import annotations

from urllib.parse import urljoin

from django.conf import settings
from django.urls import reverse

from dmr_project.lib.errors import DomainError, NotFound
from participants import keys


class NoSuchLink(NotFound):
    code = "no-such-link"
    title = "There is no such link"


class LinkGone(DomainError):
    """It was used, has expired, or was revoked. HTTP 410."""

    status = 410
    code = "link-gone"
    title = "The link opens nothing any more"


def new() -> tuple[str, str]:
    """A token in clear, to be mailed and not kept, and its digest."""
    token = keys.generate()
    return token, keys.digest(token)


def address(route: str, *arguments: str) -> str:
    """The page under DMR_PUBLIC_URL."""
    return urljoin(settings.PUBLIC_URL, reverse(route, args=arguments))

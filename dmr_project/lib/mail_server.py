"""DMR_EMAIL_URL and DMR_EMAIL_FROM: by which mail server, and as whom, we write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from dmr_project.lib import env

SCHEMES = ("smtp", "smtps", "console", "file")
_BACKENDS = "django.core.mail.backends"


@dataclass(frozen=True)
class MailServer:
    """As Django's settings want it."""

    is_set: bool
    backend: str
    folder: Path  # of mails written to files
    host: str = ""
    port: int = 25
    user: str = ""
    password: str = ""
    starttls: bool = False
    implicit_tls: bool = False


def parse(url: str, folder: Path) -> MailServer:
    """`smtp://user:password@host:587/?tls=starttls`, `smtps://…`, `console:`, `file:` (into `folder`), `file:///path`.

    Empty: no mail server; what is not in the outbox goes to the log. Raises BadEnvironment, which never echoes the
    URL: it holds a password.
    """
    parts = urlsplit(url)
    if not url:
        return MailServer(False, f"{_BACKENDS}.console.EmailBackend", folder)
    if parts.scheme == "console":
        return MailServer(True, f"{_BACKENDS}.console.EmailBackend", folder)
    if parts.scheme == "file":
        return MailServer(True, f"{_BACKENDS}.filebased.EmailBackend", Path(unquote(parts.path) or folder))
    options = parse_qs(parts.query, keep_blank_values=True)
    is_implicit = parts.scheme == "smtps"
    if not parts.hostname:
        raise env.BadEnvironment("DMR_EMAIL_URL", "names no mail server; write smtp://mail.example.ee:25/")
    if options.keys() - {"tls"} or options.get("tls", ["none"]) not in (["none"], ["starttls"]):
        raise env.BadEnvironment("DMR_EMAIL_URL", "after the ? only tls=starttls or tls=none can be said")
    starttls = options.get("tls") == ["starttls"]
    if is_implicit and starttls:
        raise env.BadEnvironment("DMR_EMAIL_URL", "smtps:// has TLS from the start; leave tls=starttls out")
    return MailServer(
        True,
        f"{_BACKENDS}.smtp.EmailBackend",
        folder,
        host=parts.hostname,
        port=parts.port or (465 if is_implicit else 25),
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        starttls=starttls,
        implicit_tls=is_implicit,
    )


def sender(default: str) -> str:
    """An address, or a name with an address: `Bürokratt <dmr@example.ee>`. Raises BadEnvironment."""
    value = env.text("DMR_EMAIL_FROM", default)
    _, bracket, rest = value.rpartition("<")
    try:
        if "\n" in value or (bracket and not rest.endswith(">")):
            raise ValidationError("")
        if value != default:
            validate_email(rest.removesuffix(">"))
    except ValidationError:
        raise env.BadEnvironment("DMR_EMAIL_FROM", f"{value!r} is no address such as dmr@example.ee") from None
    return value

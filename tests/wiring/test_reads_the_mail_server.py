"""DMR_EMAIL_URL and DMR_EMAIL_FROM."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmr_project.lib import mail_server
from dmr_project.lib.env import BadEnvironment

FOLDER = Path("/data/mail")


@pytest.mark.parametrize(
    ("url", "backend", "said"),
    [
        ("console:", "console", {}),
        ("file:", "filebased", {"folder": FOLDER}),
        ("file:///srv/mails", "filebased", {"folder": Path("/srv/mails")}),
        ("smtp://mail.test", "smtp", {"host": "mail.test", "port": 25, "starttls": False}),
        (
            "smtp://dmr%40x.test:p%2Fw@mail.test:587/?tls=starttls",
            "smtp",
            {"port": 587, "starttls": True, "implicit_tls": False, "user": "dmr@x.test", "password": "p/w"},
        ),
        ("smtps://mail.test/", "smtp", {"port": 465, "implicit_tls": True, "starttls": False}),
    ],
)
def test_servers(url: str, backend: str, said: dict[str, object]) -> None:
    found = mail_server.parse(url, FOLDER)
    assert found.is_set
    assert found.backend == f"django.core.mail.backends.{backend}.EmailBackend"
    assert {name: getattr(found, name) for name in said} == said


def test_none() -> None:
    assert not mail_server.parse("", FOLDER).is_set


@pytest.mark.parametrize(
    "url", ["smtp:", "smtp://u:secret@/", "smtp://u:secret@x/?tls=yes", "smtp://x/?ssl=1", "smtps://x/?tls=starttls"]
)
def test_bad_ones_are_refused_without_an_echo(url: str) -> None:
    with pytest.raises(BadEnvironment) as raised:
        mail_server.parse(url, FOLDER)
    assert str(raised.value).startswith("DMR_EMAIL_URL: ")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("", True),
        ("dmr@x.test", True),
        ("Bürokratt <dmr@x.test>", True),
        ("dmr", False),
        ("Bürokratt <dmr>", False),
        ("<dmr@x.test", False),
        ("a@x.test\nBcc: b@x.test", False),
    ],
)
def test_senders(value: str, good: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMR_EMAIL_FROM", value)
    if good:
        assert mail_server.sender("dmr@localhost") == (value or "dmr@localhost")
    else:
        with pytest.raises(BadEnvironment):
            mail_server.sender("dmr@localhost")

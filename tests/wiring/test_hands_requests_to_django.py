"""dmr_project.rsgi: what granian says of a request, as WSGI has it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Headers:
    """As granian's: values that are not ASCII are left out of items(), their names are not."""

    pairs: list[tuple[str, str]]
    unreadable: list[str] = field(default_factory=list)

    def items(self) -> list[tuple[str, str]]:
        return self.pairs

    def keys(self) -> list[str]:
        return [name for name, _ in self.pairs] + self.unreadable


def environ(*pairs: tuple[str, str], unreadable: list[str] | None = None, **said: str) -> dict[str, Any]:
    from dmr_project import rsgi

    class Scope:
        method, path, query_string, scheme, http_version = "POST", "/messages", "", "http", "1.1"
        client, server = "192.0.2.7:40000", "127.0.0.1:8000"
        headers = Headers(list(pairs), unreadable or [])

    scope = Scope()
    for name, value in said.items():
        setattr(scope, name, value)
    return rsgi.environ_of(scope)


def test_headers_become_variables() -> None:
    found = environ(("x-sent-by", "tax-board"), ("content-type", "text/plain"), ("content-length", "3"))
    assert found["HTTP_X_SENT_BY"] == "tax-board"
    assert (found["CONTENT_TYPE"], found["CONTENT_LENGTH"]) == ("text/plain", "3")
    assert "HTTP_CONTENT_TYPE" not in found


def test_a_header_that_comes_twice_is_seen_twice() -> None:
    found = environ(("x-sent-by", "tax-board"), ("x-sent-by", "police"), ("cookie", "a=1"), ("cookie", "b=2"))
    assert found["HTTP_X_SENT_BY"] == "tax-board,police"
    assert found["HTTP_COOKIE"] == "a=1; b=2"


def test_underscores_do_not_pass_for_hyphens() -> None:
    assert "HTTP_X_API_KEY" not in environ(("x_api_key", "somebody's"))


def test_an_unreadable_value_is_not_an_empty_one() -> None:
    found = environ(("x-empty", ""), unreadable=["x-model-type"])
    assert found["HTTP_X_EMPTY"] == ""
    assert found["HTTP_X_MODEL_TYPE"] == "\ufffd"


@pytest.mark.parametrize(
    ("client", "expected"), [("192.0.2.7:40000", "192.0.2.7"), ("[2001:db8::1]:40000", "2001:db8::1")]
)
def test_the_clients_address(client: str, expected: str) -> None:
    assert environ(client=client)["REMOTE_ADDR"] == expected


def test_paths_are_bytes_in_disguise() -> None:
    assert environ(path="/messages/õ")["PATH_INFO"].encode("latin-1").decode() == "/messages/õ"

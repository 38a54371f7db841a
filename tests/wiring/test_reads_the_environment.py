"""dmr_project.lib.env: what is written, its default, or one line that says what to write."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from dmr_project.lib import env

NAME = "DMR_TEST_VALUE"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    monkeypatch.delenv(NAME, raising=False)
    monkeypatch.delenv(f"{NAME}_FILE", raising=False)
    return lambda value: monkeypatch.setenv(NAME, value) if value is not None else None


Written = Callable[[str | None], None]


def refused(read: Callable[[], object]) -> str:
    with pytest.raises(SystemExit) as raised:
        read()
    said = str(raised.value)
    assert said.startswith(f"{NAME}")
    assert "\n" not in said
    return said


@pytest.mark.parametrize(("value", "text"), [(None, "default"), ("", "default"), ("x", "x"), (" x ", " x ")])
def test_text(written: Written, value: str | None, text: str) -> None:
    written(value)
    assert env.text(NAME, "default") == text


def test_text_from_a_file(written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    path.write_text(" secret\n\n")
    monkeypatch.setenv(f"{NAME}_FILE", str(path))
    assert env.text(NAME) == "secret"
    written("too")
    assert f"{NAME}_FILE" in refused(lambda: env.text(NAME))


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_file_that_cannot_be_read(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(f"{NAME}_FILE", str(path))
    refused(lambda: env.text(NAME))


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        (None, True),
        ("", True),
        ("1", True),
        ("yes", True),
        ("ON", True),
        ("True", True),
        ("0", False),
        ("no", False),
        ("Off", False),
        ("false", False),
    ],
)
def test_flag(written: Written, value: str | None, flag: bool) -> None:
    written(value)
    assert env.flag(NAME, default=True) is flag


@pytest.mark.parametrize("value", ["2", "perhaps", "tru"])
def test_flag_that_is_none(written: Written, value: str) -> None:
    written(value)
    assert "1 or 0" in refused(lambda: env.flag(NAME, default=True))


@pytest.mark.parametrize(("value", "number"), [(None, 5), ("", 5), ("1", 1), ("10", 10), ("007", 7)])
def test_number(written: Written, value: str | None, number: int) -> None:
    written(value)
    assert env.number(NAME, 5, 1, 10) == number


@pytest.mark.parametrize("value", ["0", "11", "-1", "1.5", "one", "²", "٣", "1 "])
def test_number_that_is_none(written: Written, value: str) -> None:
    written(value)
    assert "1 to 10" in refused(lambda: env.number(NAME, 5, 1, 10))


def test_choice(written: Written) -> None:
    written(None)
    assert env.choice(NAME, ("first", "second")) == "first"
    written("second")
    assert env.choice(NAME, ("first", "second")) == "second"
    written("Second")
    assert "first, second" in refused(lambda: env.choice(NAME, ("first", "second")))


@pytest.mark.parametrize(
    ("value", "networks"),
    [
        (None, []),
        ("10.0.0.0/8", ["10.0.0.0/8"]),
        ("10.1.2.3/8, ::1 ,", ["10.0.0.0/8", "::1/128"]),
    ],
)
def test_networks(written: Written, value: str | None, networks: list[str]) -> None:
    written(value)
    assert env.networks(NAME) == [ip_network(each) for each in networks]


@pytest.mark.parametrize("value", ["10.0.0.0/33", "proxy", "10.0.0.0/8;::1"])
def test_networks_that_are_none(written: Written, value: str) -> None:
    written(value)
    refused(lambda: env.networks(NAME))


@pytest.mark.parametrize("value", ["redis://h", "redis://:p@h:6379/0", "rediss://[::1]:1/0", ""])
def test_url(written: Written, value: str) -> None:
    written(value)
    assert env.url(NAME, "", ("redis", "rediss"), "redis://localhost/0") == value


@pytest.mark.parametrize(
    "value", ["nonsense", "http://h", "redis://", "redis://h:x", "redis://h:0", "redis://h:99999", "redis://[::1"]
)
def test_url_that_is_none_is_not_echoed(written: Written, value: str) -> None:
    written(value)
    said = refused(lambda: env.url(NAME, "", ("redis", "rediss"), "redis://localhost/0"))
    assert "redis://localhost/0" in said
    assert value not in said.removesuffix("redis://localhost/0")


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(lambda: env.make_folder(NAME, tmp_path / "file" / "below"))
    env.make_folder(NAME, tmp_path / "new" / "below")
    assert (tmp_path / "new" / "below").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {}),
        ("a=viewer", {"a": ["viewer"]}),
        (" a = viewer , a=operator,b=viewer,", {"a": ["viewer", "operator"], "b": ["viewer"]}),
        ("cn=a=viewer", {"cn=a": ["viewer"]}),
    ],
)
def test_mapping(written: Written, value: str | None, expected: dict[str, list[str]]) -> None:
    written(value)
    assert env.mapping(NAME, "a=b") == expected


@pytest.mark.parametrize("value", ["a", "a=", "=b", "a=b,c"])
def test_bad_mapping(written: Written, value: str) -> None:
    written(value)
    assert "a=b" in refused(lambda: env.mapping(NAME, "a=b"))

"""dmr_project.lib.network and the guard of the outbound client: who calls, and whom we may call."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from dmr_project.lib.http import AddressGuard, AddressRefused
from dmr_project.lib.network import client_address, is_public, is_within, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("", None),
        ("bot", None),
        ("10.0.0", None),
        ("0x7f.1", None),
        ("2130706433", None),
    ],
)
def test_parses(text: str, address: str | None) -> None:
    parsed = parse_address(text)
    assert (str(parsed) if parsed else None) == address


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("127.0.0.1", False),
        ("127.9.9.9", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("192.0.2.1", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_public_or_not(address: str, public: bool) -> None:
    parsed = parse_address(address)
    assert parsed is not None
    assert is_public(parsed) is public


def test_within_compares_the_same_version_only() -> None:
    networks = [ip_network("10.0.0.0/8"), ip_network("::/0")]
    assert is_within(parse_address("10.1.1.1"), networks)  # type: ignore[arg-type]
    assert not is_within(parse_address("11.1.1.1"), networks)  # type: ignore[arg-type]
    assert is_within(parse_address("2001:db8::1"), networks)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("remote", "forwarded", "seen"),
    [
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.5", "203.0.113.5"),
        ("10.0.0.1", "203.0.113.5, 10.0.0.2", "203.0.113.5"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.5", "203.0.113.5"),  # the first is the caller's own invention
        ("203.0.113.9", "1.1.1.1", "203.0.113.9"),  # not our proxy
        ("10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),
        ("10.0.0.1", "nonsense", "nonsense"),
        ("10.0.0.1", "1.1.1.1, nonsense", "nonsense"),
        ("", "1.1.1.1", ""),
    ],
)
def test_caller_is_whom_a_trusted_proxy_vouches_for(remote: str, forwarded: str, seen: str) -> None:
    environ = {"REMOTE_ADDR": remote, "HTTP_X_FORWARDED_FOR": forwarded}
    assert client_address(environ, [ip_network("10.0.0.0/8")]) == seen
    assert client_address(environ, []) == remote


@pytest.mark.parametrize(
    ("address", "private_allowed", "allowed", "passes"),
    [
        ("8.8.8.8", False, [], True),
        ("127.0.0.1", False, [], False),
        ("127.0.0.1", True, [], True),
        ("10.1.1.1", False, ["10.0.0.0/8"], True),
        ("11.1.1.1", False, ["10.0.0.0/8"], True),
        ("192.168.1.1", False, ["10.0.0.0/8"], False),
        ("bot", True, [], False),
    ],
)
def test_guard_of_the_outbound_client(address: str, private_allowed: bool, allowed: list[str], passes: bool) -> None:
    guard = AddressGuard(private_allowed, [ip_network(each) for each in allowed])
    if passes:
        guard.check(address)
    else:
        with pytest.raises(AddressRefused):
            guard.check(address)

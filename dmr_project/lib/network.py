"""Addresses: who is calling, and where we may call."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from dmr_project.lib.env import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_address(text: str) -> Address | None:
    """The address, an IPv4 one mapped into IPv6 as IPv4; None where `text` is none."""
    try:
        address = ipaddress.ip_address(text.split("%", 1)[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def is_within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


# Translations of IPv4 into IPv6, in which a private address could hide.
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("2002::/16"))


def is_public(address: Address) -> bool:
    """May we call it in production? Not loopback, private, link-local (cloud metadata), multicast or reserved."""
    return address.is_global and not address.is_multicast and not is_within(address, _TRANSLATED)


def client_address(environ: dict[str, Any], trusted: Sequence[Network]) -> str:
    """The address of the caller: the last forwarded one that a trusted proxy vouches for.

    `trusted` are the networks of our own proxies (DMR_TRUSTED_PROXIES); from anybody else the header is
    not believed.
    """
    nearest = str(environ.get("REMOTE_ADDR", ""))
    forwarded = [part.strip() for part in str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",") if part.strip()]
    while forwarded:
        address = parse_address(nearest)
        if address is None or not is_within(address, trusted):
            break
        nearest = forwarded.pop()
    return nearest

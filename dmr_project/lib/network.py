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


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# Where clouds answer any program of a machine about the machine, secrets included. Some lie on public addresses.
_METADATA = _networks(
    "169.254.169.254/32", "fd00:ec2::254/128", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"
)
# This machine and its own wire, and nobody in particular.
_OURSELVES = _networks(
    *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"),
    *("::/128", "::1/128", "fe80::/10", "fec0::/10", "ff00::/8"),
)
# Translations of IPv4 into IPv6, in which any address could hide.
_TRANSLATED = _networks("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")
_IPV6_IN_USE = ipaddress.ip_network("2000::/3")


def is_public(address: Address) -> bool:
    """May we call it in production? Not loopback, private, link-local, multicast, reserved, or a cloud's metadata."""
    if address.version == 6 and address not in _IPV6_IN_USE:
        return False
    return address.is_global and not address.is_multicast and not is_within(address, (*_METADATA, *_TRANSLATED))


def may_be_allowed(address: Address) -> bool:
    """Could staff allow it? Never ourselves, our own wire, a cloud's metadata, or a translated address."""
    return not is_within(address, (*_METADATA, *_OURSELVES, *_TRANSLATED))


def forbidden_part(network: Network) -> Network | None:
    """The part of ourselves, or of translated addresses, that nobody may allow and `network` overlaps."""
    return next(
        (each for each in (*_OURSELVES, *_TRANSLATED) if each.version == network.version and each.overlaps(network)),
        None,
    )


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

"""What names, endpoints and success statuses may look like. Pure; used by models, API and admin alike."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from dmr_project.lib import network
from dmr_project.lib.env import Network

CLASSIFIER = "Classifier"  # means any active participant of that type
DMR = "Dmr"  # the sender of what we say ourselves
RESERVED = frozenset({CLASSIFIER, DMR})
RELAY = "dmr-relay"  # our own entry in the registry
SHORTEST, LONGEST = 4, 50  # characters
RUUTER_STATUSES = "2xx,300"
# What staff are offered, and what it means.
SUCCESS_PRESETS: dict[str, str | Promise] = {
    "2xx": _("Any 2xx"),
    RUUTER_STATUSES: "Ruuter (2xx, 300)",
    "202": _("202 alone, as the first generation's proxy had it"),
}
NATIONAL = "national"  # the room that a participant joins on registration

_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_STATUS = re.compile(r"[1-5]xx|[1-5]\d\d")


def validate_name(name: str) -> None:
    """4 to 50 printable ASCII characters, not reserved. Raises ValidationError."""
    _validate_length(name, SHORTEST, LONGEST)
    if not _PRINTABLE.fullmatch(name):
        raise ValidationError(_("must be printable ASCII, since it travels in HTTP headers"))
    if name != name.strip():
        raise ValidationError(_("must not begin or end with a space, which HTTP headers drop"))
    if name in RESERVED:
        raise ValidationError(_("%(name)s is reserved"), params={"name": name})


def validate_institution(name: str) -> None:
    """4 to 50 printable characters of any script: it travels in no header. Raises ValidationError."""
    _validate_length(name, SHORTEST, LONGEST)
    if not name.isprintable():
        raise ValidationError(_("must hold printable characters only"))
    if name != name.strip():
        raise ValidationError(_("must not begin or end with a space"))


def validate_host(host: str) -> None:
    """A full http or https URL of 5 to 100 printable characters. Raises ValidationError."""
    _validate_length(host, 5, 100)
    if not _PRINTABLE.fullmatch(host) or " " in host:
        raise ValidationError(_("must be printable ASCII without spaces"))
    no_url = _("must be a full http or https URL, such as http://bot:8080/dmr-api/messages")
    try:
        parts = urlsplit(host)
        port_is_good = parts.port is None or parts.port > 0
    except ValueError:
        raise ValidationError(no_url) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_good:
        raise ValidationError(no_url)
    if parts.username is not None or parts.password is not None:
        raise ValidationError(_("must not hold a user name or password"))
    if parts.fragment:
        raise ValidationError(_("must not hold a fragment (#…)"))


def validate_statuses(text: str) -> None:
    """A list such as `2xx,300`. Raises ValidationError."""
    for part in text.split(","):
        if not _STATUS.fullmatch(part.strip()):
            raise ValidationError(_("%(part)r is not a status such as 300 or 2xx"), params={"part": part.strip()})


def validate_networks(text: str) -> None:
    """A list such as `10.1.2.0/24,2001:db8::/64`, of at most 65,536 IPv4 addresses each. Raises ValidationError."""
    for part in text.split(","):
        network = _network(part, "10.1.2.0/24")
        if network.prefixlen < (16 if network.version == 4 else 48):
            said = _("%(network)s is too wide: anybody in it could speak for this participant")
            raise ValidationError(said, params={"network": network})


def validate_private_networks(text: str) -> None:
    """A list such as `10.1.0.0/16,fd12::/48` that holds nothing of ourselves. Raises ValidationError."""
    for part in text.split(","):
        found = _network(part, "10.1.0.0/16")
        forbidden = network.forbidden_part(found)
        if forbidden is not None:
            said = _(
                "%(network)s holds %(part)s, which is never called: loopback, link-local, multicast, translated "
                "or unspecified addresses"
            )
            raise ValidationError(said, params={"network": found, "part": forbidden})


def _network(text: str, example: str) -> Network:
    """Raises ValidationError, which says how a network is written that was meant so."""
    text = text.strip()
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        params = {"text": text, "example": example}
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValidationError(_("%(text)r is not a network such as %(example)s"), params=params) from None
    said = _("%(text)r is not a network: it has host bits set; %(meant)s would be one")
    raise ValidationError(said, params={**params, "meant": meant})


def is_success(status: int, statuses: str) -> bool:
    """Does `status` stand in a list such as `2xx,300`?"""
    written = str(status)
    return any(part.strip() in {written, f"{written[0]}xx"} for part in statuses.split(","))


def _validate_length(text: str, least: int, most: int) -> None:
    if not least <= len(text) <= most:
        said = _("must have %(least)s to %(most)s characters, not %(length)s")
        raise ValidationError(said, params={"least": least, "most": most, "length": len(text)})

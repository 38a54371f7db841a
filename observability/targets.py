"""The participants as Prometheus' HTTP service discovery wants them.

Source: https://prometheus.io/docs/prometheus/latest/http_sd/ and its `http_sd_config`. Labels that begin with
`__meta_` are there for relabelling, and dropped before scraping.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.utils import timezone

from observability.states import state_at
from participants.models import Participant

_PORTS = {"http": 80, "https": 443}


def targets() -> list[dict[str, Any]]:
    """`[{"targets": ["host:port"], "labels": {…}}]` of all participants that are present, each a group of its own.

    `state` is the participant's in the registry; how its agent says it is stands in `__meta_dmr_health`, so that no
    series begins anew whenever that changes.
    """
    now = timezone.now()
    rows = Participant.objects.present().select_related("institution", "vital_signs").order_by("pk")
    return [_group(row, now) for row in rows]


def _group(row: Participant, now: Any) -> dict[str, Any]:
    scheme, address = endpoint(row.host)
    signs = getattr(row, "vital_signs", None)
    state = state_at(now, None, None, None) if signs is None else signs.state(now)
    return {
        "targets": [address],
        "labels": {
            "__scheme__": scheme,
            "__meta_dmr_id": str(row.public_id),
            "__meta_dmr_endpoint": row.host,
            "__meta_dmr_health": state.value,
            "__meta_dmr_version": signs.release_version if signs else "",
            "participant": row.name,
            "institution": row.institution.name,
            "type": row.type,
            "state": row.status,
        },
    }


def endpoint(host: str) -> tuple[str, str]:
    """Scheme and `host:port` of a participant's URL; an IPv6 address in brackets."""
    parts = urlsplit(host)
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return parts.scheme, f"{name}:{parts.port or _PORTS[parts.scheme]}"

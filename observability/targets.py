"""The participants as Prometheus' HTTP service discovery wants them.

Source: https://prometheus.io/docs/prometheus/latest/http_sd/ and its `http_sd_config`. Labels that begin with
`__meta_` are there for relabelling, and dropped before scraping.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.utils import timezone

from observability.states import state_at
from participants.models import Participant

_PORTS = {"http": 80, "https": 443}


def targets() -> list[dict[str, Any]]:
    """`[{"targets": ["host:port"], "labels": {…}}]` of all participants that the network knows, each a
    group of its own.

    `state` is the participant's in the registry; how its agent says it is stands in `__meta_dmr_health`, so that no
    series begins anew whenever that changes.
    """
    now = timezone.now()
    # Plain values: this is every participant, and Prometheus asks every minute.
    rows = Participant.objects.known().order_by("pk").values_list(
        "public_id", "name", "host", "type", "status", "institution__name",
        "vital_signs__health", "vital_signs__late_at", "vital_signs__silent_at", "vital_signs__release_version",
    )  # fmt: skip
    return [_group(now, *row) for row in rows]


def _group(
    now: datetime,
    public_id: UUID,
    name: str,
    host: str,
    type: str,
    status: str,
    institution: str,
    health: str | None,
    late_at: datetime | None,
    silent_at: datetime | None,
    version: str | None,
) -> dict[str, Any]:
    scheme, address = endpoint(host)
    return {
        "targets": [address],
        "labels": {
            "__scheme__": scheme,
            "__meta_dmr_id": str(public_id),
            "__meta_dmr_endpoint": host,
            "__meta_dmr_health": state_at(now, health, late_at, silent_at).value,
            "__meta_dmr_version": version or "",
            "participant": name,
            "institution": institution,
            "type": type,
            "state": status,
        },
    }


def endpoint(host: str) -> tuple[str, str]:
    """Scheme and `host:port` of a participant's URL; an IPv6 address in brackets."""
    parts = urlsplit(host)
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return parts.scheme, f"{name}:{parts.port or _PORTS[parts.scheme]}"

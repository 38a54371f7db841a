"""Gauges read from the database when Prometheus asks; explained in docs/metrics.md.

Only the process that answers `/metrics` makes them, so that none is counted twice, and it keeps what it read for a
few seconds.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from datetime import datetime

from django.db import DatabaseError, connection
from django.db.models import Count, Sum
from django.utils import timezone
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dmr_project.lib.log import event
from observability.models import Alert, Instance
from observability.states import State
from participants.models import Participant
from relay import planning
from relay.delivery.claim import IS_CLAIMED_OF
from relay.models import Breaker, StoredBytes
from updates.models import Release, Rollout

logger = logging.getLogger(__name__)

KEEP_SECONDS = 5.0
MOST_VERSIONS = 20
MOST_COUNTED = 100_000  # pending deliveries: an index walk of some 10 ms; more only says "far too many"

# What relay.delivery.claim would take now, as it has it: nothing of a recipient that is held, pulls, or is behind an
# open breaker, and of a conversation only the oldest. The states stand here in full, for SQLite's
# partial indexes.
# Each recipient costs a look at its first few rows, however much waits for it.
_OLDEST_DUE = f"""
    SELECT min(first_due) FROM (
        SELECT (
            SELECT min(one.due_at) FROM (
                SELECT d.id, d.recipient_id, d.conversation, d.due_at FROM relay_delivery d
                WHERE d.recipient_id = p.id AND d.state = 'pending' ORDER BY d.due_at, d.id LIMIT 50
            ) one
            WHERE one.conversation = '' OR NOT EXISTS (
                SELECT 1 FROM relay_delivery other
                WHERE other.recipient_id = one.recipient_id AND other.conversation = one.conversation
                    AND other.state IN ('pending', 'delivering') AND other.conversation <> ''
                    AND (other.id < one.id OR other.state = 'delivering')
            )
        ) AS first_due
        FROM participants_participant p
        LEFT JOIN relay_breaker b ON b.recipient_id = p.id AND b.state <> 'closed'
        WHERE {IS_CLAIMED_OF} AND b.recipient_id IS NULL
    ) firsts
"""
_PENDING = "SELECT count(*) FROM (SELECT 1 FROM relay_delivery WHERE state = 'pending' LIMIT %s) few"

_IN_FLIGHT = """
    SELECT p.delivery_mode, count(*)
    FROM (SELECT recipient_id FROM relay_delivery WHERE state = 'delivering' LIMIT %s) few
    JOIN participants_participant p ON p.id = few.recipient_id GROUP BY p.delivery_mode
"""


class Fleet(Collector):
    """Participants, Instances, rollouts, alerts, the backlog and what is in flight."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        now = timezone.now()
        yield participants()
        yield instances(now)
        yield rollouts()
        yield alerts()
        yield backlog()
        yield in_flight()
        yield oldest_due(now)
        yield breakers()
        yield stored_payloads()


def participants() -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(
        "dmr_participants", "Participants, by state in the registry and type.", labels=["state", "type"]
    )
    rows = Participant.objects.present().order_by().values_list("status", "type").annotate(count=Count("pk"))
    for status, kind, count in rows:
        gauge.add_metric([status, kind], count)
    return gauge


def instances(now: datetime) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(
        "dmr_fleet_instances", "Instances, by state and software version.", labels=["state", "version"]
    )
    rows = (
        Instance.objects.fleet(now)
        .order_by()
        .values_list("state", "vital_signs__release_version")
        .annotate(count=Count("pk"))
    )
    counts: dict[tuple[str, str], int] = {}
    found = [(state, version or "", count) for state, version, count in rows]
    shown = newest_versions({version for _, version, _ in found if version})
    for state, version, count in found:
        label = "other" if version and version not in shown else version or "unknown"
        counts[state, label] = counts.get((state, label), 0) + count
    for (state, version), count in counts.items():
        gauge.add_metric([State(state).value, version], count)
    return gauge


def newest_versions(versions: set[str]) -> set[str]:
    """The MOST_VERSIONS newest; those that we released come first, since an agent may say anything."""
    released = set(Release.objects.filter(version__in=versions).values_list("version", flat=True))

    def age(version: str) -> tuple[bool, list[int]]:
        return version in released, [int(number[:9]) for number in re.findall(r"[0-9]+", version)]

    return set(sorted(versions, key=age, reverse=True)[:MOST_VERSIONS])


def rollouts() -> GaugeMetricFamily:
    gauge = GaugeMetricFamily("dmr_rollouts", "Rollouts, by state.", labels=["state"])
    counts = dict(Rollout.objects.order_by().values_list("state").annotate(Count("pk")))
    for state in Rollout.State.values:
        gauge.add_metric([state], counts.get(state, 0))
    return gauge


def alerts() -> GaugeMetricFamily:
    gauge = GaugeMetricFamily("dmr_alerts_open", "Open alerts, by kind.", labels=["kind"])
    counts = dict(Alert.objects.open().order_by().values_list("kind").annotate(Count("pk")))
    for kind in Alert.Kind.values:
        gauge.add_metric([kind], counts.get(kind, 0))
    return gauge


def backlog() -> GaugeMetricFamily:
    with connection.cursor() as cursor:
        cursor.execute(_PENDING, [MOST_COUNTED])
        (count,) = cursor.fetchone()
    return GaugeMetricFamily(
        "dmr_deliveries_pending", f"Deliveries that wait, counted up to {MOST_COUNTED}.", value=count
    )


def in_flight() -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(
        "dmr_deliveries_in_flight", f"Deliveries under a lease, counted up to {MOST_COUNTED}.", labels=["mode"]
    )
    with connection.cursor() as cursor:
        cursor.execute(_IN_FLIGHT, [MOST_COUNTED])
        counts = dict(cursor.fetchall())
    for mode in Participant.DeliveryMode.values:
        gauge.add_metric([mode], counts.get(mode, 0))
    return gauge


def oldest_due(now: datetime) -> GaugeMetricFamily:
    with planning.in_index_order(), connection.cursor() as cursor:
        cursor.execute(_OLDEST_DUE, {"now": connection.ops.adapt_datetimefield_value(now)})
        (due_at,) = cursor.fetchone()
    if isinstance(due_at, str):  # SQLite keeps times as texts, in UTC
        due_at = datetime.fromisoformat(due_at).replace(tzinfo=now.tzinfo)
    seconds = 0.0 if due_at is None else max(0.0, (now - due_at).total_seconds())
    return GaugeMetricFamily(
        "dmr_oldest_due_seconds",
        "For how long the oldest due delivery waits; those held do not count.",
        value=seconds,
    )


def breakers() -> GaugeMetricFamily:
    gauge = GaugeMetricFamily("dmr_breakers", "Breakers of recipients that have ever failed.", labels=["state"])
    rows = Breaker.objects.filter(recipient__deleted_at=None)
    counts = dict(rows.values_list("state").annotate(Count("pk")))
    for state in Breaker.State.values:
        gauge.add_metric([state], counts.get(state, 0))
    return gauge


def stored_payloads() -> GaugeMetricFamily:
    total = StoredBytes.objects.aggregate(total=Sum("size"))["total"] or 0
    return GaugeMetricFamily("dmr_stored_payload_bytes", "Payload stored, by all senders.", value=max(0, total))


_registry = CollectorRegistry()
_registry.register(Fleet())
_lock = threading.Lock()
_kept: tuple[float, bytes] | None = None


def exposition() -> bytes:
    """The gauges as Prometheus text. Where the database cannot be read, only `dmr_fleet_readable 0`."""
    global _kept
    with _lock:
        if _kept is None or time.monotonic() - _kept[0] >= KEEP_SECONDS:
            _kept = (time.monotonic(), _read())
        return _kept[1]


def forget() -> None:
    """Drops what was read; for tests."""
    global _kept
    _kept = None


def _read() -> bytes:
    try:
        said, is_readable = generate_latest(_registry), 1
    except DatabaseError as error:
        # The processes' own metrics are all the more wanted then, so this must not fail the scrape.
        event(logger, "fleet_not_readable", logging.ERROR, error=type(error).__name__)
        said, is_readable = b"", 0
    help_text = (
        b"# HELP dmr_fleet_readable Could the gauges of the database be read?\n# TYPE dmr_fleet_readable gauge\n"
    )
    return said + help_text + b"dmr_fleet_readable %.1f\n" % is_readable

"""What accepting and claiming cost with much stored, beside an empty database: nothing may grow with what is stored.

`python -m bench.scale MESSAGES`, with DATABASE_URL at an empty database, fills it, and prints the figures as JSON for
each line that it reads. It times in one process, on one connection that does not wait for the disk: that costs the
same however much there is.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from tests.servers import running

PARTICIPANTS = 5_000
SMALL = 58  # participants of the empty database: 8 senders and 50 recipients
ROUNDS = 24
CLAIMED = 400  # deliveries in a claim
AT_ONCE = 100_000  # rows of a statement that fills
# Filling asks neither whether a row's participants exist, nor for whole pages of indexes in the log time and again.
FILLING = ("session_replication_role = replica", "work_mem = '256MB'")
FEW_CHECKPOINTS = ("max_wal_size = '32GB'", "checkpoint_timeout = '1h'")


def costs(stored: int) -> dict[str, float]:
    """Medians, in ms, with nothing stored, and with so many messages of 5,000 participants, measured in turns."""
    with measuring(0) as empty, measuring(stored) as full:
        pairs = [(empty(), full()) for _ in range(ROUNDS)]
    found = {
        name: tuple(statistics.median(pair[place][name] for pair in pairs) for place in (0, 1))
        for name in ("accept", "claim")
    }
    ratios = {name: full_ms / empty_ms for name, (empty_ms, full_ms) in found.items()}
    return {
        f"{stored} stored: accept_ms": found["accept"][1],
        "reference_accept_ms, empty": found["accept"][0],
        "accept_ratio": ratios["accept"],
        f"claim_ms of {CLAIMED}": found["claim"][1],
        "reference_claim_ms, empty": found["claim"][0],
        "claim_ratio": ratios["claim"],
    }


@contextlib.contextmanager
def measuring(stored: int) -> Iterator[Callable[[], dict[str, float]]]:
    """A server and a process of its own, filled; each call measures once."""
    with running("postgres") as urls, tempfile.TemporaryDirectory(prefix="dmr-bench-") as folder:
        environment = {**os.environ, "DATABASE_URL": urls["postgres"], "DMR_DATA_DIR": folder}
        command = [sys.executable, "-m", "bench.scale", str(stored)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            asks, answers = process.stdin, process.stdout

            def measure() -> dict[str, float]:
                asks.write("measure\n")
                asks.flush()
                found: dict[str, float] = json.loads(answers.readline())
                return found

            try:
                measure()  # returns when all is filled; what is done for the first time counts for neither
                yield measure
            finally:
                asks.close()


def main(stored: int) -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dmr_project.settings")
    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from participants import registry
    from relay.delivery import claim, wake

    call_command("migrate", verbosity=0, interactive=False)
    registry.ensure_own_entries()
    with connection.cursor() as cursor, patch.object(wake, "pump"):  # nobody is to deliver
        cursor.execute("SET synchronous_commit = off")
        claim.prepare_connection()
        add_participants(cursor, PARTICIPANTS if stored else SMALL)
        if stored:
            fill(cursor, stored)
        for _ in sys.stdin:
            print(json.dumps(measured()), flush=True)


def add_participants(cursor: Any, count: int) -> None:
    """In the room that all of them share, as registering them one by one would leave them."""
    from participants.models import Institution, Membership, Participant, Room

    institution, _ = Institution.objects.get_or_create(name="Bench")
    begin = Participant.objects.count()
    rows = Participant.objects.bulk_create(
        Participant(institution=institution, name=f"bench-{begin + number}", host="http://127.0.0.1:9/")
        for number in range(count)
    )
    room = Room.objects.order_by("id").first()
    assert room is not None
    Membership.objects.bulk_create(Membership(room=room, participant=row) for row in rows)


def fill(cursor: Any, stored: int) -> None:
    """Messages of all participants, delivered, as they are kept when their payloads have been deleted."""
    cursor.execute("SELECT array_agg(id) FROM participants_participant WHERE name LIKE 'bench-%'")
    (ids,) = cursor.fetchone()
    for setting in FILLING:
        cursor.execute(f"SET {setting}")
    for setting in FEW_CHECKPOINTS:
        cursor.execute(f"ALTER SYSTEM SET {setting}")
    cursor.execute("SELECT pg_reload_conf()")
    for begin in range(0, stored, AT_ONCE):
        cursor.execute(
            """
            WITH given AS (
                SELECT number, now() - interval '80 days' * (1 - number::float8 / %(stored)s) AS at,
                    %(ids)s::bigint[] AS ids
                FROM generate_series(%(begin)s::int, %(end)s::int) AS number
            ), message AS (
                INSERT INTO relay_message (sender_id, message_id, written_id, written_ref, sent_by, send_to,
                    model_type, conversation, content_type, is_to_room, payload, payload_deleted_at, payload_size,
                    digest, accepted_at, expires_at)
                SELECT ids[1 + number %% cardinality(ids)], id, id, '', 'bench', 'bench', '', '', 'text/plain', false,
                    '', at, 1024, md5(id::text) || md5(id::text), at, at + interval '1 day'
                FROM (SELECT *, gen_random_uuid() AS id FROM given) AS each
                RETURNING id, sender_id, accepted_at, expires_at
            )
            INSERT INTO relay_delivery (message_id, recipient_id, recipient_name, sender_id, conversation, state,
                due_at, attempts, accepted_at, expires_at, delivered_at, ended_at, last_status, last_seconds,
                last_error)
            SELECT id, (%(ids)s::bigint[])[1 + id * 7 %% cardinality(%(ids)s::bigint[])], 'bench', sender_id, '',
                'delivered', accepted_at, 1, accepted_at, expires_at, accepted_at, accepted_at, 202, 0.01, ''
            FROM message
            """,
            {"ids": ids, "begin": begin, "end": min(begin + AT_ONCE, stored) - 1, "stored": stored},
        )
    for table in ("participants_participant", "relay_message", "relay_delivery"):
        cursor.execute(f"VACUUM ANALYZE {table}")
    for setting in FILLING:
        cursor.execute(f"RESET {setting.partition(' ')[0]}")
    cursor.execute("CHECKPOINT")


def measured() -> dict[str, float]:
    """Accepting one message, and claiming what is due to 50 recipients, in ms."""
    from participants.models import Participant
    from relay.delivery import claim
    from relay.models import Delivery

    names = list(Participant.objects.filter(name__startswith="bench-").order_by("-id").values_list("name", flat=True))
    recipients = names[: SMALL - 8]
    accepting = [accept_one(names[-1 - turn % 8], recipients[turn % len(recipients)]) for turn in range(CLAIMED)]
    began = time.perf_counter()
    claimed = claim.claim(CLAIMED)
    claiming = time.perf_counter() - began
    if len(claimed) != CLAIMED:
        raise SystemExit(f"claimed {len(claimed)} of {CLAIMED}")
    Delivery.objects.filter(id__in=[each.id for each in claimed]).update(
        state="delivered", lease_until=None, lease_token=None
    )
    return {"accept": 1000 * statistics.median(accepting), "claim": 1000 * claiming}


def accept_one(sender_name: str, recipient: str) -> float:
    """Seconds."""
    from participants import directory
    from relay import accept, envelope

    written = {"HTTP_X_SENT_BY": sender_name, "HTTP_X_SEND_TO": recipient, "HTTP_X_MESSAGE_ID": str(uuid.uuid4())}
    began = time.perf_counter()
    registry = directory.current()
    sender = registry.named(sender_name)
    assert sender is not None
    accept.accept(registry, sender, envelope.read(written), b"x" * 1024)
    return time.perf_counter() - began


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""What each type of page of the admin costs with 5,000 participants on SQLite, in processor time of the web process.

`python -m bench.pages PARTICIPANTS ROUNDS`, with DMR_DATA_DIR at an empty folder, prints the figures as JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

PARTICIPANTS = 5_000
LIMIT = 300.0  # ms that a page may take
WORST = 5  # pages that are named
MOST_SECONDS = 1_800
REFERENCE = "/admin/login/"  # a page that shows nothing of the registry


def costs(rounds: int, participants: int = PARTICIPANTS) -> list[dict[str, float]]:
    """The median page and the slowest ones, in ms, each a median of `rounds`; the reference is the log-in page."""
    with tempfile.TemporaryDirectory(prefix="dmr-bench-") as folder:
        environment = {**os.environ, "DMR_DATA_DIR": folder}
        for name in ("DATABASE_URL", "REDIS_URL"):
            environment.pop(name, None)
        command = [sys.executable, "-m", "bench.pages", str(participants), str(rounds)]
        said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, timeout=MOST_SECONDS)
    return summary(json.loads(said.stdout))


def summary(found: dict[str, float]) -> list[dict[str, float]]:
    """Of address -> ms, the reference among them: lines to print."""
    reference = found.pop(REFERENCE)
    ranked = sorted(found.items(), key=lambda each: -each[1])
    middle = statistics.median(found.values())
    lines = [
        {
            f"median of {len(found)} admin pages, CPU ms": middle,
            "reference_ms, log-in page": reference,
            "page_ratio": middle / reference,
            f"pages above {LIMIT:.0f} ms": sum(took > LIMIT for took in found.values()),
        }
    ]
    return lines + [{f"{address} ms": took, "ratio": took / reference} for address, took in ranked[:WORST]]


def main(participants: int, rounds: int) -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dmr_project.settings")
    django.setup()
    from django.core.management import call_command
    from django.test import Client, RequestFactory

    from staff import roles
    from tests import many
    from tests.pages import addresses
    from tests.staff.people import browser, person

    call_command("migrate", verbosity=0, interactive=False)
    many.fill(participants)
    user = person(*roles.EVERYBODY)
    request = RequestFactory().get("/admin/")
    request.user = user
    client = browser(user)
    found = {address: took(client, address, rounds) for address in addresses(request)}
    found[REFERENCE] = took(Client(), REFERENCE, rounds)
    print(json.dumps(found))


def took(client: Any, address: str, rounds: int) -> float:
    """Median ms of processor time, after one that fills caches and compiles templates."""
    seen = []
    for _ in range(rounds + 1):
        began = time.process_time()
        answer = client.get(address, follow=True)
        seen.append(1000 * (time.process_time() - began))
        if answer.status_code != 200:
            raise SystemExit(f"{address}: {answer.status_code}")
    return statistics.median(seen[1:])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

"""Each metric of docs/metrics.md is seen moving on /metrics, and moves for nothing else than what it says."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from observability import collectors
from tests.integration.product import wait_until
from tests.invariants.test_documents_every_setting_and_metric import table_names
from tests.metrics.moves import MOVES, WITH_TRANSACTIONS, World

DOCUMENTED = sorted(table_names("metrics.md", "dmr_[a-z_]+"))


def samples(client: Client, name: str) -> dict[tuple[str, ...], float]:
    """All samples of the metric but the times at which they were made, by name and labels."""
    collectors.forget()
    lines = client.get("/metrics").content.decode().splitlines(keepends=True)
    text = "".join(line for line in lines if name in line)  # parsing all of them takes longer than making them
    return {
        (sample.name, *map(str, sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in (name, f"{name}_count", f"{name}_sum")
    }


def marked(name: str) -> Any:
    marks = [pytest.mark.django_db(transaction=name in WITH_TRANSACTIONS)]
    return pytest.param(name, marks=[*marks, pytest.mark.real_wake] if name == "dmr_wakes_total" else marks)


def test_each_has_a_move() -> None:
    assert sorted(MOVES) == DOCUMENTED


@pytest.mark.parametrize("name", [marked(name) for name in sorted(MOVES)])
def test_moves(name: str, world: World) -> None:
    before = samples(world.client, name)
    assert samples(world.client, name) == before, "it moves by itself"
    MOVES[name](world)
    wait_until(lambda: samples(world.client, name) != before, 5, f"{name} moves")
    after = samples(world.client, name)
    if name.endswith(("_total", "_seconds")):
        assert all(after[key] >= was for key, was in before.items())

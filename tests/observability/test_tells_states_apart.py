"""What state an Instance is in, by what was heard and by the time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from observability.models import Instance
from observability.states import Health, State, deadlines, state_at
from tests.integration.product import Product
from tests.observability.conftest import NOON, PERIOD, Agent, Clock

DJANGO = {"DJANGO_SETTINGS_MODULE": "dmr_project.settings"}
LATE, SILENT = deadlines(NOON, PERIOD)
JUST = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("period", "late", "silent"), [(1, 16, 46), (5, 20, 50), (30, 45, 75), (60, 90, 150), (3600, 5400, 9000)]
)
def test_how_long_silence_may_last(period: int, late: int, silent: int) -> None:
    assert deadlines(NOON, period) == (NOON + timedelta(seconds=late), NOON + timedelta(seconds=silent))


def test_period_and_grace_come_from_the_environment(tmp_path: Path) -> None:
    product = Product(tmp_path, {"DMR_CHECK_IN_SECONDS": "3", "DMR_CHECK_IN_GRACE_SECONDS": "5", **DJANGO})
    done = product.run(
        "-c",
        "import django; django.setup(); from datetime import datetime; from updates import agent_protocol\n"
        "from observability.states import deadlines; noon = datetime(2026, 1, 1, 12)\n"
        "print(agent_protocol.PERIOD, *((each - noon).seconds for each in deadlines(noon, 3)))",
    )
    assert done.stdout == "3 8 18\n", done.stderr


@pytest.mark.parametrize(
    ("now", "health", "state"),
    [
        (NOON, Health.OK, State.OK),
        (NOON, Health.DEGRADED, State.DEGRADED),
        (NOON, Health.DOWN, State.DOWN),
        (LATE - JUST, Health.DOWN, State.DOWN),
        (LATE, Health.OK, State.LATE),
        (LATE, Health.DOWN, State.LATE),
        (SILENT - JUST, Health.OK, State.LATE),
        (SILENT, Health.OK, State.SILENT),
        (SILENT, Health.DOWN, State.SILENT),
        (NOON - timedelta(days=400), Health.OK, State.OK),  # our clock was set back
        (NOON + timedelta(days=4000), Health.OK, State.SILENT),
    ],
)
@pytest.mark.django_db
def test_the_state_is_the_same_in_python_and_in_sql(
    now: datetime, health: Health, state: State, agent: Agent, clock: Clock
) -> None:
    assert state_at(now, health, LATE, SILENT) == state
    agent.check_in(health=health.value)
    assert agent.signs.state(now) == state
    assert Instance.objects.fleet(now).get().state == state


@pytest.mark.django_db
def test_one_that_was_never_heard_of(new_agent: Callable[..., Agent]) -> None:
    new_agent()
    assert state_at(NOON, None, None, None) == State.NEVER_HEARD
    assert Instance.objects.fleet(NOON).get().state == State.NEVER_HEARD


def test_staff_read_who_says_that_it_is_down() -> None:
    assert State.DOWN.label == "Down, says its agent"
    assert State.SILENT.label == "Down: its agent is silent"

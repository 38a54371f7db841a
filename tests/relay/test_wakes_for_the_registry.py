"""Whoever may be reached again need not wait for the sweep: a change of the registry wakes a pump."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from dmr_project.lib.errors import DomainError
from participants import life, registry
from participants.models import Participant
from tests import factories
from tests.conftest import Wakes

pytestmark = pytest.mark.django_db

Committed = Callable[[], AbstractContextManager[object]]


def enable(bot: Participant) -> None:
    registry.set_status([bot], "Active", actor="anna", reason="it is back")


def push(bot: Participant) -> None:
    registry.set_own_delivery_mode(bot.pk, "push")


@pytest.mark.parametrize(
    ("status", "mode", "change"), [("Disabled", "push", enable), ("Active", "pull", push)], ids=["enabled", "push"]
)
def test_after_the_commit(
    wakes: Wakes, committed: Committed, status: str, mode: str, change: Callable[[Participant], None]
) -> None:
    bot = factories.participant(status=status, delivery_mode=mode)
    before = wakes.count
    with committed():
        change(bot.row)
        assert wakes.count == before
    assert wakes.count == before + 1


def test_what_is_refused_wakes_nobody(wakes: Wakes, committed: Committed) -> None:
    bot = factories.participant()
    before = wakes.count
    with committed(), pytest.raises(DomainError):
        life.suspend([bot.row], actor="anna", reason="")
    assert wakes.count == before

"""Which of the keys that somebody waits with have become void, at a query only where something has changed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from participants import directory, registry
from participants.void_keys import Watch
from tests import factories

pytestmark = pytest.mark.django_db


def test_a_revoked_key_is_found_and_asked_for_again_only_after_changes(django_assert_num_queries: Any) -> None:
    bots = [factories.participant() for _ in range(3)]
    keys = {bot.row.keys.get().pk for bot in bots}
    watch = Watch()
    with django_assert_num_queries(2):
        assert watch.holders(keys) == set()
    with django_assert_num_queries(1):  # the registry's version
        assert watch.holders(keys) == set()
    with django_assert_num_queries(0):
        assert watch.holders(set()) == set()
    registry.revoke_key(bots[0].row.keys.get(), actor="tests")
    assert watch.holders(keys) == {bots[0].row.pk}
    assert watch.holders(keys) == {bots[0].row.pk}, "until it has gone"
    assert watch.holders(keys - {bots[0].row.keys.get().pk}) == set()


def test_a_key_that_expires_meanwhile_is_found(django_assert_num_queries: Any) -> None:
    bot, other = factories.participant(), factories.participant()
    keys = {each.row.keys.get().pk for each in (bot, other)}
    bot.row.keys.update(expires_at=timezone.now() + timedelta(seconds=20))
    watch = Watch()
    with time_machine.travel(timezone.now(), tick=False) as clock:
        assert watch.holders(keys) == set()
        clock.shift(19)
        with django_assert_num_queries(1):
            assert watch.holders(keys) == set()
        clock.shift(2)
        assert watch.holders(keys) == {bot.row.pk}
        assert watch.holders(keys) == {bot.row.pk}, "until it has gone"


def test_a_key_that_was_void_when_its_poll_began_is_found_though_nothing_has_changed_since() -> None:
    bot, other = factories.participant(), factories.participant()
    key = bot.row.keys.get()
    registry.revoke_key(key, actor="tests")
    watch = Watch()
    watch.holders({other.row.keys.get().pk})
    version = directory.registry_version()
    assert watch.holders({key.pk, other.row.keys.get().pk}) == {bot.row.pk}
    assert directory.registry_version() == version

"""What a process has loaded before its first work is not looked through again by the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Iterator

import pytest
from celery import signals

from dmr_project import celery, processes


@pytest.fixture
def collector() -> Iterator[None]:
    assert gc.get_freeze_count() == 0
    yield
    gc.unfreeze()


def test_garbage_goes_before_the_rest_is_set_apart(collector: None) -> None:
    class Node:
        gone = False

        def __del__(self) -> None:
            Node.gone = True

    node = Node()
    node.itself = node  # type: ignore[attr-defined]
    del node
    processes.set_start_apart()
    assert Node.gone
    assert gc.get_freeze_count() > 10_000
    assert len(gc.get_objects()) < gc.get_freeze_count()


def test_the_web_does_so_with_every_view_loaded(collector: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from dmr_project import rsgi

    monkeypatch.setattr(rsgi.signal, "signal", lambda *_: None)
    loop = asyncio.new_event_loop()
    rsgi.started(loop)
    loop.close()
    assert "relay.api.messages" in sys.modules
    assert gc.get_freeze_count() > 0


def test_the_worker_does_so_when_it_is_ready() -> None:
    assert celery._set_start_apart in set(signals.worker_ready._live_receivers(None))

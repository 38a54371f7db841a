"""Fixtures of the tests that need the product to run: these, and some of the invariants."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.product import Product, a_product
from tests.integration.sinks import Behaviour, Sink


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    """One product for all tests of this process that leave it as they found it. It makes its tables itself."""
    with a_folder() as folder, a_product(folder, migrated=False) as running:
        yield running
        running.stop()
        assert "Traceback" not in running.output, running.output
        assert running.processes() == {}


@pytest.fixture
def own_product() -> Iterator[Product]:
    """A product for a test that does something to it."""
    with a_folder() as folder, a_product(folder) as running:
        yield running
        print(running.output)  # shown where the test fails


@pytest.fixture
def unstarted_product() -> Iterator[Product]:
    """A product for a test that starts it itself, or sees it refuse."""
    with a_folder() as folder, a_product(folder, start=False) as waiting:
        yield waiting
        print(waiting.output)


@contextlib.contextmanager
def a_folder() -> Iterator[Path]:
    """Not pytest's: those of runs before are removed by whoever runs pytest next, and this one goes at once."""
    with tempfile.TemporaryDirectory(prefix="dmr-product-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def sink() -> Iterator[Callable[..., Sink]]:
    """Makes recipients: `sink()` answers 202, `sink(always(500))` and so on."""
    made: list[Sink] = []

    def make(behaviour: Behaviour | None = None) -> Sink:
        made.append(Sink(behaviour))
        return made[-1]

    yield make
    for each in made:
        each.close()

"""Fixtures of the tests that need the product to run: these, and some of the invariants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.product import Product, a_product
from tests.integration.sinks import Behaviour, Sink


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """One product for all tests of this process that leave it as they found it."""
    with a_product(tmp_path_factory.mktemp("product")) as running:
        yield running
        running.stop()
        assert "Traceback" not in running.output, running.output
        assert running.processes() == {}


@pytest.fixture
def own_product(tmp_path: Path) -> Iterator[Product]:
    """A product for a test that does something to it."""
    with a_product(tmp_path) as running:
        yield running


@pytest.fixture
def unstarted_product(tmp_path: Path) -> Iterator[Product]:
    """A product for a test that starts it itself, or sees it refuse."""
    with a_product(tmp_path, start=False) as waiting:
        yield waiting


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

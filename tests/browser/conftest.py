"""A real browser, and a product full of rows for it to look at."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.portal import Portal, Someone
from tests.integration.fixtures import a_folder
from tests.integration.product import Product, a_product

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
ROWS = 12


def program() -> str:
    """The browser's path. In CI its lack is a failure, elsewhere it is said aloud and the test left out."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        said = "chromium is missing, so no page was looked at in a browser: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(said)
        print(f"\n*** {said}", file=sys.__stderr__, flush=True)
        pytest.skip(said)
    return found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One a module: while it runs, Django's models cannot be used in this thread, which the driver's loop holds."""
    path = program()
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="session")
def filled_product() -> Iterator[Product]:
    program()
    with a_folder() as folder, a_product(folder) as running:
        running.shell(f"from tests import many; many.fill({ROWS})")
        yield running
        running.stop()
        assert "Traceback" not in running.output, running.output


@pytest.fixture(scope="module")
def portal(chromium: Browser, filled_product: Product) -> Portal:
    return Portal(chromium, filled_product.url)


@pytest.fixture(scope="module")
def mari(portal: Portal) -> Iterator[Someone]:
    """A member of staff who may do everything, in a wide and bright window."""
    person = portal.log_in()
    yield person
    person.leave()

"""Two members of staff with keys, and releases that they have signed."""

from __future__ import annotations

import pytest

from tests.updates.staff import Staff


@pytest.fixture
def staff(db: None) -> Staff:
    """Anna writes, Bert approves; both sign."""
    return Staff()

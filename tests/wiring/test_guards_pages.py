"""What Django's own checks would miss: that its guards of pages are in place, under our names."""

from __future__ import annotations

from typing import Any

import pytest

from dmr_project.checks import PAGES_ARE_GUARDED_BY, check_pages_are_guarded


def test_pages_are_guarded() -> None:
    assert check_pages_are_guarded() == []


@pytest.mark.parametrize("left_out", PAGES_ARE_GUARDED_BY)
def test_a_guard_left_out_is_an_error(settings: Any, left_out: str) -> None:
    settings.MIDDLEWARE = [each for each in settings.MIDDLEWARE if each != left_out]
    (found,) = check_pages_are_guarded()
    assert found.id == "dmr.E005"
    assert left_out in found.msg

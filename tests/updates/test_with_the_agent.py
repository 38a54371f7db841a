"""The real agent against the real API: what the two say to one another fits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pytest_django.live_server_helper import LiveServer

from participants import registry
from tests.agent.fakes import FakeServer, Instance
from tests.updates.staff import Staff, in_wave, public_text
from updates.models import Rollout, Target
from updates.scheduler import tick

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def staff(transactional_db: None) -> Staff:
    return Staff()


def instance_of(target: Target, folder: Path, server: LiveServer, staff: Staff) -> Instance:
    """An Instance with an agent beside it, which trusts Anna and Bert."""
    folder.mkdir()
    found = Instance(folder, cast(FakeServer, SimpleNamespace(url=server.url)))
    _, key = registry.issue_key(target.participant, actor="tests")
    (folder / "api-key").write_text(key)
    found.settings["trusted_keys"] = [public_text(each) for each in staff.keys.values()]
    return found


def test_releases_reach_instances(tmp_path: Path, live_server: LiveServer, staff: Staff) -> None:
    rollout = staff.rollout(2, waves=(50, 100))
    (canary,), (other,) = in_wave(rollout, 1), in_wave(rollout, 2)
    first = instance_of(canary, tmp_path / "canary", live_server, staff)
    second = instance_of(other, tmp_path / "other", live_server, staff)
    assert second.agent().returncode == 0
    assert second.version == "1.0.0", "its wave is closed"
    assert first.agent().returncode == 0
    assert first.version == "1.1.0"
    tick()
    assert second.agent().returncode == 0
    assert second.version == "1.1.0"
    tick()
    rollout.refresh_from_db()
    assert rollout.state == "finished"
    reported = canary.reports.values_list("state", flat=True)
    assert list(reported) == ["accepted", "installing", "verifying", "succeeded"]
    assert first.agent().returncode == 0
    assert not Target.objects.exclude(contradicted_at=None).exists()


def test_a_broken_release_is_undone_and_goes_no_further(
    tmp_path: Path, live_server: LiveServer, staff: Staff
) -> None:
    rollout = staff.rollout(2, waves=(50, 100))
    (canary,), (other,) = in_wave(rollout, 1), in_wave(rollout, 2)
    first = instance_of(canary, tmp_path / "canary", live_server, staff)
    second = instance_of(other, tmp_path / "other", live_server, staff)
    (first.folder / "broken-1.1.0").touch()
    assert first.agent().returncode == 1
    assert first.version == "1.0.0"
    tick()
    assert state(rollout) == ("paused", ["rolled_back", "waiting"])
    assert "not healthy" in rollout.reason
    assert second.agent().returncode == 0
    assert second.version == "1.0.0"


def test_a_release_that_the_agent_does_not_trust(tmp_path: Path, live_server: LiveServer, staff: Staff) -> None:
    rollout = staff.rollout(1)
    (canary,) = rollout.targets.select_related("participant")
    instance = instance_of(canary, tmp_path / "canary", live_server, staff)
    instance.settings["trusted_keys"] = [public_text(staff.more_key(staff.anna)) for _ in range(2)]
    assert instance.agent().returncode == 1
    canary.refresh_from_db()
    assert (canary.state, canary.reason) == ("failed", "refused: 0 different trusted keys signed it, 2 must")


def state(rollout: Rollout) -> tuple[str, Any]:
    rollout.refresh_from_db()
    return rollout.state, list(rollout.targets.order_by("wave__number").values_list("state", flat=True))

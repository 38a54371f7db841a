"""The commands: what they say, and that a refusal is one line and exit code 1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError

from participants.models import Change
from tests import factories
from tests.integration import databases
from tests.updates.staff import Staff, bring_to, in_wave, manifest, public_text, sign
from updates.models import Release, Rollout


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def refused(*arguments: str) -> str:
    with pytest.raises(CommandError) as raised:
        run(*arguments)
    assert raised.value.returncode == 1
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture
def files(staff: Staff, tmp_path: Path) -> Any:
    """Writes a manifest and its signatures; returns their paths."""

    def write(version: str = "1.1.0", sequence: int = 11, keys: Any = None) -> list[str]:
        said = manifest(version, sequence)
        paths = [tmp_path / f"{version}.json"]
        paths[0].write_text(json.dumps(said, indent=2))
        for number, key in enumerate(keys or staff.keys.values()):
            paths.append(tmp_path / f"{version}.sig{number}")
            paths[-1].write_text(json.dumps(sign(rfc8785.dumps(said), key)) + "\n")
        return [str(path) for path in paths]

    return write


def test_the_whole_way(staff: Staff, files: Any, tmp_path: Path) -> None:
    (tmp_path / "new.pub").write_text(public_text(Ed25519PrivateKey.generate()) + "\n")
    assert "is bert's" in run("staff_key", "add", str(tmp_path / "new.pub"), "--user", "bert")
    path, *signatures = files()
    said = run("release", "import", path, "--signature", *signatures, "--user", "anna")
    assert said == "1.1.0 is draft, with 2 signature(s)\n"
    assert run("release", "approve", "1.1.0", "--user", "bert") == "1.1.0 is approved\n"
    assert run("release", "publish", "1.1.0", "--user", "bert") == "1.1.0 is published\n"
    institution = factories.institution("Ministry")
    names = [factories.participant(institution=institution).name for _ in range(3)]
    factories.participant()
    started = run(
        "rollout", "start", "1.1.0", "--waves", "10,50,100", "--gate", "1.0", "--soak", "5", "--max-failures", "0",
        "--institution", "Ministry", "--user", "anna",
    )  # fmt: skip
    assert started == "The rollout of 1.1.0 runs, for 3 Instance(s) in waves of 1, 1, 1\n"
    rollout = Rollout.objects.get()
    assert (rollout.gate, rollout.soak_seconds, rollout.max_failures) == (1.0, 5, 0)
    bring_to(in_wave(rollout, 1)[0], "installing")
    table = run("rollout", "status", "1.1.0")
    assert table.startswith("1.1.0 running\n2 waiting, 1 installing\n")
    assert all(name in table for name in names)
    assert "paused" in run("rollout", "pause", "1.1.0", "--user", "bert")
    assert "goes on" in run("rollout", "resume", "1.1.0")
    assert "aborted; 2 Instance(s)" in run("rollout", "abort", "1.1.0", "--user", "bert")
    assert run("release", "withdraw", "1.1.0", "--user", "anna") == "1.1.0 is withdrawn\n"
    actors = Change.objects.filter(kind="rollout").order_by("id").values_list("action", "actor")
    assert list(actors) == [("start", "anna"), ("pause", "bert"), ("resume", "command line"), ("abort", "bert")]


def test_lists_releases(staff: Staff, files: Any) -> None:
    assert run("release", "list") == ""
    run("release", "import", files("1.1.0", 11)[0], "--user", "anna")
    run("release", "import", files("1.2.0", 12)[0], "--user", "anna")
    run("release", "approve", "1.1.0", "--user", "bert")
    assert run("release", "list") == "1.2.0 12 mandatory draft\n1.1.0 11 mandatory approved\n"


def test_signatures_may_come_one_by_one(staff: Staff, files: Any) -> None:
    path, first, second = files()
    run("release", "import", path, "--user", "anna")
    run("release", "import", path, "--signature", first, "--signature", second, "--user", "anna")
    assert Release.objects.get().signatures.count() == 2


def test_refuses_in_one_line(staff: Staff, files: Any, tmp_path: Path) -> None:
    path, first, second = files()
    assert "no user 'nobody'" in refused("release", "import", path, "--user", "nobody")
    assert "cannot be read" in refused("release", "import", str(tmp_path / "no"), "--user", "anna")
    assert "is not JSON" in refused("release", "import", path, "--signature", __file__, "--user", "anna")
    assert "There is no release 9.9.9" in refused("release", "approve", "9.9.9", "--user", "bert")
    assert "There is no rollout of 1.1.0" in refused("rollout", "status", "1.1.0")
    run("release", "import", path, "--signature", first, "--user", "anna")
    assert "somebody else must approve it" in refused("release", "approve", "1.1.0", "--user", "anna")
    run("release", "approve", "1.1.0", "--user", "bert")
    assert "only anna signed it" in refused("release", "publish", "1.1.0", "--user", "bert")
    run("release", "import", path, "--signature", second, "--user", "anna")
    run("release", "publish", "1.1.0", "--user", "bert")
    start = ("rollout", "start", "1.1.0", "--user", "anna")
    assert "nobody to update" in refused(*start)
    assert "no institution 'Nowhere'" in refused(*start, "--institution", "Nowhere")
    assert "growing percentages" in refused(*start, "--waves", "50")
    assert "gate must be" in refused(*start, "--gate", "2")
    assert "base64 of 32 bytes" in refused("staff_key", "add", path, "--user", "anna")
    assert "There is no staff key x" in refused("staff_key", "withdraw", "x", "--user", "anna")
    Staff.deactivate(staff.bert)
    assert "not active" in refused("release", "withdraw", "1.1.0", "--user", "bert")


def test_withdraws_a_key(staff: Staff) -> None:
    key_id = staff.rows["anna"].key_id
    assert "is withdrawn" in run("staff_key", "withdraw", key_id, "--user", "bert")
    assert "already" in run("staff_key", "withdraw", key_id, "--user", "bert")


@pytest.mark.any_database
def test_exits_1_with_one_line_on_standard_error(tmp_path: Path) -> None:
    environment = {**os.environ, "DMR_DATA_DIR": str(tmp_path)}
    environment.pop("DATABASE_URL", None)
    environment.pop("REDIS_URL", None)
    databases.copy_migrated(tmp_path)

    def manage(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, check=False
        )

    done = manage("release", "approve", "1.1.0", "--user", "nobody")
    assert done.returncode == 1
    assert done.stderr == "CommandError: There is no user 'nobody'.\n"
    assert done.stdout == ""

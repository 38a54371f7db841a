"""`manage.py audit`: verify, head, export, archive."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from io import StringIO
from pathlib import Path

import pytest
import rfc8785
import time_machine
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from participants import append_only, audit, history, registry
from participants.models import Archive, Change
from tests import factories
from tests.integration import databases

START = datetime(2026, 5, 1, 9, tzinfo=timezone.utc)

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock() -> Iterator[time_machine.Coordinates]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("audit", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def lines(*arguments: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in run("export", *arguments).splitlines()]


def refused(*arguments: str) -> str:
    with pytest.raises((CommandError, SystemExit)) as raised:
        run(*arguments)
    return str(raised.value)


def test_verify_says_how_many_and_the_head() -> None:
    factories.participant()
    newest = run("head").strip()
    count = Change.objects.count()
    assert newest == f"{count}:{Change.objects.get(number=count).hash}"
    assert run("verify") == f"{count} entries, all whole; the newest is {newest}\n"
    first = f"1:{Change.objects.get(number=1).hash}"
    assert "all whole" in run("verify", "--expect-head", newest, "--expect-head", first)


def test_verify_names_the_first_entry_that_does_not_hold() -> None:
    factories.participant()
    with append_only.lifted(connection), connection.cursor() as cursor:
        cursor.execute("UPDATE participants_change SET reason = 'another' WHERE number IN (2, 4)")
    assert refused("verify") == "Entry 2 was altered: its hash is not that of what it says."


def test_verify_takes_a_head_that_was_kept_elsewhere() -> None:
    factories.participant()
    assert "went on to 999" in refused("verify", "--expect-head", f"999:{'a' * 64}")
    assert "hash was kept" in refused("verify", "--expect-head", f"2:{'a' * 64}")
    assert "NUMBER:HASH" in refused("verify", "--expect-head", "yesterday's")


def test_an_empty_log_is_whole() -> None:
    assert run("verify").startswith("0 entries, all whole")


def test_an_export_has_stable_names_and_can_be_verified_elsewhere() -> None:
    bot = factories.participant("tax-bot")
    registry.set_status([bot.row], "Suspended", actor="anna", reason="it misbehaves")
    found = lines()[-2]
    assert set(found) == {
        "number", "at", "actorKind", "actor", "address", "action", "object", "institution", "before", "after",
        "reason", "previousHash", "hash",
    }  # fmt: skip
    assert found["object"] == {"kind": "participant", "id": str(bot.row.public_id), "name": "tax-bot"}
    claimed = found.pop("hash")
    assert hashlib.sha256(rfc8785.dumps(found)).hexdigest() == claimed


def test_an_export_is_told_itself() -> None:
    User.objects.create_user("anna", is_staff=True)
    lines("--since", "2026-01-01", "--user", "anna")
    change = Change.objects.get(action="export")
    assert (change.actor, change.after) == ("anna", {"since": "2026-01-01 00:00:00+02:00"})
    lines()
    assert Change.objects.filter(action="export", actor="command line", actor_kind="system").exists()


def test_an_export_by_institution_has_its_own_alone_also_after_a_new_name() -> None:
    mine, other = factories.institution("Tax board"), factories.institution("Police")
    bot = factories.participant("tax-bot", institution=mine)
    factories.participant("police-bot", institution=other)
    mine.name = "Tax and customs board"
    registry.update(mine, actor="anna")
    for name in ("Tax board", "Tax and customs board"):
        found = lines("--institution", name)
        assert {each["institution"]["id"] for each in found} == {str(mine.public_id)}  # type: ignore[index]
        assert {each["object"]["kind"] for each in found} == {"institution", "participant", "apikey"}  # type: ignore[index]
        assert any(each["object"]["id"] == str(bot.row.public_id) for each in found)  # type: ignore[index]
    assert "never was" in refused("export", "--institution", "Nobody's")


def test_an_export_by_time_begins_with_since_and_ends_before_until(clock: time_machine.Coordinates) -> None:
    for _ in range(4):
        history.note("try", "anna", kind="test")
        clock.shift(timedelta(days=1))
    # Dates are Estonia's: the day begins at 21 h of UTC.
    at = [each["at"] for each in lines("--since", "2026-05-02", "--until", "2026-05-04")]
    assert at == ["2026-05-02T09:00:00.000000Z", "2026-05-03T09:00:00.000000Z"]
    first, *_ = lines("--since", "2026-05-04T09:00:00+00:00")
    assert first["at"] == "2026-05-04T09:00:00.000000Z"
    assert "is not a time" in refused("export", "--since", "yesterday")


def test_a_file_is_verified_line_by_line(tmp_path: Path) -> None:
    factories.participant()
    path = tmp_path / "export.jsonl"
    path.write_text(run("export"))
    count = len(path.read_text().splitlines())
    assert run("verify", "--file", str(path)).startswith(f"{count} entries, all whole")
    path.write_text(path.read_text().replace("register", "remove", 1))
    assert "was altered" in refused("verify", "--file", str(path))
    path.write_text('{"number": 1}\n')
    assert refused("verify", "--file", str(path)) == "Line 1 is no entry of an audit log."
    assert "cannot be read" in refused("verify", "--file", str(tmp_path / "none"))


def test_the_documented_program_verifies_an_export(tmp_path: Path) -> None:
    (program,) = re.findall(r"^```py\n(.*?)^```", (settings.BASE_DIR / "docs/audit.md").read_text(), re.M | re.S)
    factories.participant()
    path = tmp_path / "january.jsonl"
    for text, status in ((run("export"), 0), (run("export").replace("register", "remove"), 1)):
        path.write_text(text)
        done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, timeout=30)
        assert done.returncode == status, done.stderr


def test_an_archive_takes_the_beginning_and_the_chain_goes_on(
    clock: time_machine.Coordinates, tmp_path: Path
) -> None:
    for number in range(6):
        history.note("try", "anna", kind="test", subject=str(number))
        clock.shift(timedelta(days=1))
    kept = {number: Change.objects.get(number=number).hash for number in (2, 3, 5)}
    path = tmp_path / "old.jsonl"
    said = run("archive", "--before", "2026-05-04", "--out", str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert said == f"{path} has the entries up to 3:{kept[3]}\nits SHA-256 is {digest}\n"
    assert list(Change.objects.chained().values_list("number", flat=True)) == [4, 5, 6, 7]
    assert Change.objects.get(number=7).after == {
        "number": 3, "hash": kept[3], "file": "old.jsonl", "sha256": digest,
    }  # fmt: skip
    assert run("verify").startswith("4 entries, all whole")
    assert run("verify", "--file", str(path)) == f"3 entries, all whole; the newest is 3:{kept[3]}\n"
    audit.verify({3: kept[3], 5: kept[5]})
    with pytest.raises(audit.Broken):
        audit.verify({3: "a" * 64})
    assert "in an archive's file" in refused("verify", "--expect-head", f"2:{kept[2]}")
    assert run("archive", "--before", "2026-05-04", "--out", str(tmp_path / "x")) == "There is nothing so old\n"
    again = run("archive", "--before", "2026-05-06", "--out", str(tmp_path / "newer.jsonl"))
    assert "entries up to 5:" in again
    assert (tmp_path / "newer.jsonl").read_text().count("\n") == 2
    assert audit.verify().entries == 3


def test_an_archive_never_writes_over_a_file(clock: time_machine.Coordinates, tmp_path: Path) -> None:
    history.note("try", "anna", kind="test")
    clock.shift(timedelta(days=1))
    path = tmp_path / "old.jsonl"
    path.write_text("precious")
    assert "cannot be written: File exists" in refused("archive", "--before", "2026-05-02", "--out", str(path))
    assert path.read_text() == "precious"
    assert not Archive.objects.exists()


def test_a_broken_chain_is_not_archived(clock: time_machine.Coordinates, tmp_path: Path) -> None:
    for _ in range(3):
        history.note("try", "anna", kind="test")
    clock.shift(timedelta(days=1))
    with append_only.lifted(connection), connection.cursor() as cursor:
        cursor.execute("DELETE FROM participants_change WHERE number = 2")
    assert "Entry 2 is missing" in refused("archive", "--before", "2026-05-02", "--out", str(tmp_path / "x"))
    assert Change.objects.count() == 2


@pytest.mark.any_database
def test_a_command_leaves_the_user_of_the_operating_system(tmp_path: Path) -> None:
    environment = {**os.environ, "DMR_DATA_DIR": str(tmp_path), "DATABASE_URL": "", "REDIS_URL": ""}
    databases.copy_migrated(tmp_path)

    def manage(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=settings.BASE_DIR, env=environment,
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return done.stdout

    manage("audit", "export")
    (found,) = [json.loads(line) for line in manage("audit", "export").splitlines()][:1]
    assert found["address"].startswith("command line of ")
    assert (found["actorKind"], found["actor"]) == ("system", "command line")

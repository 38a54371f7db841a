"""The commands in README.md and docs/ are true: each is run here, or by the test that is named for it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.product import ROOT, STAFF_KEY, Participant, Product

pytestmark = pytest.mark.any_database  # the embedded default, which a newcomer starts with
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# Commands that run longer than a test of their own likes, and the test that runs each.
RUN_ELSEWHERE = {
    "script/demo": "tests/demo",
    "script/test": "tests/scripts",
    "script/server": "tests/integration",
}


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands(document: Path) -> list[str]:
    """The commands in a document's `sh` blocks, continued lines joined."""
    return [
        line for block in blocks(document, "sh") for line in block.replace("\\\n", " ").splitlines() if line.strip()
    ]


# A document whose programs only receive, and the test that runs each.
PROGRAMS_RUN_ELSEWHERE = {
    ROOT / "docs" / "attested-delivery.md": ROOT / "tests/relay/test_documented_verification.py",
    ROOT / "docs" / "participant-list.md": ROOT / "tests/participants/test_signs_the_list.py",
}
PROGRAMS = [
    (each.relative_to(ROOT), program)
    for each in DOCUMENTS
    if each not in PROGRAMS_RUN_ELSEWHERE
    for program in blocks(each, "python")
]
DOCUMENTED = [(document.relative_to(ROOT), command) for document in DOCUMENTS for command in commands(document)]


def test_there_are_commands() -> None:
    assert len(DOCUMENTED) >= 5
    assert PROGRAMS
    assert all(document.is_file() and test.is_file() for document, test in PROGRAMS_RUN_ELSEWHERE.items())


@pytest.mark.parametrize(("document", "command"), DOCUMENTED)
def test_a_documented_command_does_what_it_says(
    document: Path, command: str, product: Product, tmp_path: Path
) -> None:
    program = command.split()[0]
    if program in RUN_ELSEWHERE:
        assert os.access(ROOT / program, os.X_OK)
        assert (ROOT / RUN_ELSEWHERE[program]).is_dir()
        return
    environment: dict[str, Any] = {**product.full_environment}
    if " audit " not in command:  # which asks the database of a running product
        environment["DMR_DATA_DIR"] = str(tmp_path)
    if program == "curl":
        assert shutil.which("curl"), "curl is missing; install the Debian package curl"
        command, environment = for_the_network(command, product)
        command += " --fail-with-body"
    elif "manage.py dead_letters" in command:
        command, environment = for_the_network(command.replace(program, shlex.quote(sys.executable), 1), product)
    elif program == ".venv/bin/python":
        environment |= {"DMR_ENV": "production", "DMR_SECRET_KEY": "only-for-tests-" * 5}
        command = command.replace(program, shlex.quote(sys.executable), 1)
    else:
        pytest.fail(f"{document} documents {command!r}, which no test runs")
    ran = subprocess.run(command, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert '"problem"' not in ran.stdout, "a message of a batch was refused"
    assert '"messages":[]' not in ran.stdout, "an inbox was empty"
    assert '"unknown"' not in ran.stdout, "a lease was none"


@pytest.mark.parametrize(("document", "program"), PROGRAMS)
def test_a_documented_program_does_what_it_says(document: Path, program: str, product: Product) -> None:
    program, environment = for_the_network(program, product)
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [line.split()[0] for line in ran.stdout.splitlines()] == ["202", "202"]


def for_the_network(text: str, product: Product) -> tuple[str, dict[str, Any]]:
    """What is documented, with a running product's address and participants in it, and their keys beside it."""
    sender, recipient = (product.register("http://127.0.0.1:9/messages") for _ in range(2))
    for written, real in (
        ("http://127.0.0.1:8000", product.url),
        ("tax-board", sender.name),
        ("police", recipient.name),
        ("anna", "admin"),
    ):
        text = text.replace(written, real)
    if "/api/v1/inbox" in text:
        text = text.replace("2a-1f0c5b7e9d3a4c21", lease_of(sender, product))
    if "/api/v1/public-keys/revoke" in text:
        x25519 = {"kty": "OKP", "crv": "X25519", "kid": "2026-11", "x": "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"}
        said = json.dumps({"jwk": x25519}).encode()
        assert product.call("/api/v1/public-keys", "POST", said, X_Api_Key=sender.key).status == 201
    if "/api/v1/keys/revoke" in text:
        (key,) = product.call("/api/v1/keys", X_Api_Key=sender.key).json()["keys"]
        text = text.replace('"id": 17', f'"id": {key["id"]}')
    return text, {**product.full_environment, "DMR_ADMIN_API_KEY": STAFF_KEY, "KEY": sender.key}


def lease_of(recipient: Participant, product: Product) -> str:
    """Of a message that it has fetched; one more waits for it."""
    product.call("/api/v1/my/delivery-mode", "POST", b'{"mode": "pull"}', X_Api_Key=recipient.key)
    for _ in range(2):
        product.send(recipient, recipient.name)
    (message,) = product.call("/api/v1/inbox?limit=1", X_Api_Key=recipient.key).json()["messages"]
    return str(message["lease"])

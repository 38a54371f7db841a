"""The examples of docs/attested-delivery.md, run against a delivery that the real transport has made."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from dmr_project.lib.http import AddressGuard, open_session
from relay.delivery import attestation, claim, transport
from relay.delivery_keys import Keyring, Signer
from tests import factories
from tests.integration.sinks import Sink

PAGE = Path(__file__).resolve().parents[2] / "docs" / "attested-delivery.md"
BODY = bytes(range(256)) + b".1."

# What calls the example: prints, for each case of cases.json, the sender or why not.
PYTHON = """
import base64, json
for case in json.load(open("cases.json")):
    try:
        print(verify(case["headers"], base64.b64decode(case["body"]), case["jwks"], case["me"]))
    except Refused as why:
        print(f"refused: {why}")
"""
NODE = """
for (const one of JSON.parse(require("fs").readFileSync("cases.json", "utf8"))) {
  try {
    console.log(verify(one.headers, Buffer.from(one.body, "base64"), one.jwks, one.me));
  } catch (why) {
    console.log(`refused: ${why.message}`);
  }
}
"""
# Java has no JSON of its own: a case is lines of `name: value`, then keys, then body and name.
JAVA = """
import java.nio.file.*;
import java.util.*;

public final class Run {
    public static void main(String[] arguments) throws Exception {
        for (int number = 0; Files.exists(Path.of(number + ".txt")); number++) {
            Map<String, String> headers = new HashMap<>(), keys = new HashMap<>();
            String body = "", me = "";
            for (String line : Files.readAllLines(Path.of(number + ".txt"))) {
                String[] parts = line.split(" ", 3);
                if (parts[0].equals("header")) headers.put(parts[1], parts[2]);
                if (parts[0].equals("key")) keys.put(parts[1], parts[2]);
                if (parts[0].equals("body")) body = parts[1];
                if (parts[0].equals("me")) me = parts[1];
            }
            try {
                System.out.println(Verify.verify(headers, Base64.getDecoder().decode(body), keys, me));
            } catch (SecurityException why) {
                System.out.println("refused: " + why.getMessage());
            }
        }
    }
}
"""


@dataclass(frozen=True)
class Case:
    """What a recipient got, and what it holds of the keys."""

    headers: dict[str, str]
    body: bytes
    jwks: dict[str, Any]
    webhook_keys: dict[str, Any]
    me: str

    def changed(self, **headers: str | None) -> Case:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        kept = {name: value for name, value in (self.headers | named).items() if value is not None}
        return replace(self, headers=kept)


def example(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"{PAGE.name} has {len(found)} examples in {language}"
    return str(found[0])


def needs(program: str, package: str) -> str:
    """The program's path. In CI its lack is a failure, elsewhere it is said aloud and the test left out."""
    path = shutil.which(program)
    if path is None:
        said = f"{program} is missing, so an example of {PAGE.name} was NOT run: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(said)
        print(f"\n*** {said}", file=sys.__stderr__, flush=True)
        pytest.skip(said)
    return path


def run(command: list[str], folder: Path) -> list[str]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def run_python(folder: Path, cases: list[Case]) -> list[str]:
    write_json(folder, cases)
    (folder / "verify.py").write_text(example("python") + PYTHON, encoding="utf-8")
    return run([sys.executable, "verify.py"], folder)


def run_node(folder: Path, cases: list[Case]) -> list[str]:
    write_json(folder, cases)
    (folder / "verify.js").write_text(example("js") + NODE, encoding="utf-8")
    return run([needs("node", "nodejs"), "verify.js"], folder)


def run_java(folder: Path, cases: list[Case]) -> list[str]:
    compiler, java = needs("javac", "default-jdk-headless"), needs("java", "default-jdk-headless")
    for number, case in enumerate(cases):
        lines = [f"header {name} {value}" for name, value in case.headers.items()]
        lines += [f"key {key['keyId']} {key['publicKey']}" for key in case.webhook_keys["keys"]]
        lines += [f"body {base64.b64encode(case.body).decode()}", f"me {case.me}"]
        (folder / f"{number}.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "Verify.java").write_text(example("java"), encoding="utf-8")
    (folder / "Run.java").write_text(JAVA, encoding="utf-8")
    run([compiler, "-Werror", "--release", "17", "Verify.java", "Run.java"], folder)
    return run([java, "-XX:TieredStopAtLevel=1", "-cp", ".", "Run"], folder)


def write_json(folder: Path, cases: list[Case]) -> None:
    said = [
        {"headers": each.headers, "body": base64.b64encode(each.body).decode(), "jwks": each.jwks, "me": each.me}
        for each in cases
    ]
    (folder / "cases.json").write_text(json.dumps(said), encoding="utf-8")


@pytest.fixture
def delivered(client: Client) -> Case:
    """A classifier's answer with every header there is, as it came over a real connection."""
    sink = Sink()
    bot = factories.participant("tax-board", host=sink.url)
    classifier = factories.participant("classifier-one", type="Classifier")
    factories.message(
        classifier, bot.name, BODY, sent_by="Classifier", written_ref="original", conversation="c-1",
        model_type="application/vnd.classifier+json;version=1", content_type="application/octet-stream",
    )  # fmt: skip
    signer = Keyring().signer()
    (claimed,) = claim.claim(1)

    async def attempt() -> Any:
        async with open_session(AddressGuard(private_allowed=True), connections=1, per_host=1) as session:
            return await transport.attempt(session, claimed, signer)

    assert asyncio.run(attempt()).is_success
    (received,) = sink.received
    sink.close()
    return Case(
        headers={name.lower(): value for name, value in received.headers.items()},
        body=received.body,
        jwks=client.get("/.well-known/jwks.json").json(),
        webhook_keys=client.get("/.well-known/dmr-delivery-keys").json(),
        me=bot.name,
    )


def resigned(case: Case, at: int) -> Case:
    """As if the attempt had been made at another time: signed by the real key."""
    signer: Signer = Keyring().signer()
    names = [name for name in attestation.BOUND if name.lower() in case.headers]
    headers = {name: case.headers[name.lower()] for name in names}
    made = attestation.attest(headers, case.headers["x-attested-sender"], case.me, case.body, signer, at)
    return case.changed(**{name.lower().replace("-", "_"): value for name, value in made.items()})


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("verify", [run_python, run_node, run_java])
def test_examples_accept_what_came_and_refuse_everything_else(verify: Any, delivered: Case, tmp_path: Path) -> None:
    got = delivered
    signature = got.headers["webhook-signature"]
    cases = {
        "accepted": [
            got,
            resigned(got, int(time.time()) - 200),
            got.changed(webhook_signature=f"v1,AAAA v1a,{'A' * 86}== {signature}"),
            got.changed(x_other="not bound"),
        ],
        "unknown key": [
            got.changed(x_attested_key="another"),
            got.changed(x_attested_key=None),
            replace(got, jwks={"keys": []}, webhook_keys={"keys": []}),
        ],
        "the signature does not hold": [
            replace(got, body=got.body + b"x"),
            got.changed(webhook_timestamp=str(int(got.headers["webhook-timestamp"]) + 1)),
            got.changed(webhook_id="dmr_other"),
            got.changed(webhook_signature=signature.replace("v1a,", "v1,")),
            got.changed(webhook_signature=f"v1a,{'A' * 86}=="),
            got.changed(webhook_signature=None),
        ],
        "too old, or from the future": [resigned(got, int(time.time()) + each) for each in (-400, 400)],
        "a header was changed": [
            got.changed(x_attested_sender="police"),
            got.changed(x_sent_by="police"),
            got.changed(x_send_to="police"),
            got.changed(x_message_id="3f0c2f54-0000-4000-8000-000000000000"),
            got.changed(x_message_id_ref="another"),
            got.changed(x_message_id_ref=None),
            got.changed(x_model_type="another"),
            got.changed(content_type="text/plain"),
            got.changed(x_conversation_id=None),
            got.changed(x_room="national"),
            got.changed(x_attested_recipient="police"),
        ],
        "meant for somebody else": [replace(got, me="police")],
    }
    said = iter(verify(tmp_path, [case for group in cases.values() for case in group]))
    for expected, group in cases.items():
        for number, case in enumerate(group):
            answer = next(said)
            if expected == "accepted":
                assert answer == "classifier-one", number
            else:
                assert answer.startswith("refused: "), (expected, number, case.headers)
                reason = expected.removeprefix("unknown key") or "key"
                assert reason in answer, (number, answer)
    assert next(said, None) is None


def test_a_missing_program_fails_in_ci_and_is_said_aloud_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="apt-get install a-package"):
        needs("a-program-that-is-nowhere", "a-package")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception):
        needs("a-program-that-is-nowhere", "a-package")

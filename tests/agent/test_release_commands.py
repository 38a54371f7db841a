"""`dmr-agent release keygen|sign|verify`, and `python -m dmr_agent`."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from dmr_agent.cli import main

from .fakes import FakeServer, Instance, manifest


@pytest.fixture
def staff(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[Path]:
    paths = [tmp_path / name for name in ("ann", "bob")]
    assert [main(["release", "keygen", "--out", str(path)]) for path in paths] == [0, 0]
    capsys.readouterr()
    return paths


def signed(path: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert main(["release", "sign", str(path), "--key", str(key)]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_keygen_writes_a_secret_and_a_public_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "key"
    assert main(["release", "keygen", "--out", str(path)]) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = Path(f"{path}.pub").read_text()
    raw = base64.b64decode(text.strip(), validate=True)
    assert (len(raw), text.count("\n")) == (32, 1)
    assert capsys.readouterr().out.strip() == hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize("taken", ["key", "key.pub"])
def test_keygen_never_overwrites(tmp_path: Path, capsys: pytest.CaptureFixture[str], taken: str) -> None:
    (tmp_path / taken).write_text("mine")
    assert main(["release", "keygen", "--out", str(tmp_path / "key")]) == 1
    assert "not overwritten" in capsys.readouterr().err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {taken: "mine"}


def test_sign_signs_the_canonical_bytes(
    tmp_path: Path, staff: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest("1.1.0", 11), indent=4))
    said = signed(path, staff[0], capsys)
    raw = base64.b64decode(Path(f"{staff[0]}.pub").read_text())
    assert set(said) == {"keyId", "signature"}
    assert said["keyId"] == hashlib.sha256(raw).hexdigest()
    content = rfc8785.dumps(manifest("1.1.0", 11))
    Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(said["signature"]), content)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b'{"schema": 1, "schema": 1}', b'{"a": NaN}', b"[" * 100_000, b"\xff", b'{"a": "\\ud800"}'],
)
def test_sign_refuses_what_is_no_manifest(
    tmp_path: Path, staff: list[Path], capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    assert main(["release", "sign", str(path), "--key", str(staff[0])]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1


def test_sign_refuses_numbers_that_json_readers_disagree_on(
    tmp_path: Path, staff: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest("1.1.0", 11, extra=2**60)))
    assert main(["release", "sign", str(path), "--key", str(staff[0])]) == 1
    assert "no canonical form" in capsys.readouterr().err


def test_sign_refuses_a_file_that_is_no_private_key(
    tmp_path: Path, staff: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest("1.1.0", 11)))
    for key in (f"{staff[0]}.pub", tmp_path / "nowhere"):
        assert main(["release", "sign", str(path), "--key", str(key)]) == 1
        assert capsys.readouterr().out == ""


def test_verify_counts_different_trusted_keys(
    tmp_path: Path, staff: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest("1.1.0", 11)))
    files = []
    for key in staff:
        files.append(tmp_path / f"{key.name}.sig")
        files[-1].write_text(json.dumps(signed(path, key, capsys)))
    trusted = [part for key in staff for part in ("--trusted-key", f"{key}.pub")]
    both = [part for file in files for part in ("--signature", str(file))]
    assert main(["release", "verify", str(path), *both, *trusted]) == 0
    assert len(json.loads(capsys.readouterr().out)["keyIds"]) == 2
    assert main(["release", "verify", str(path), *both[:2], *both[:2], *trusted]) == 1
    path.write_text(path.read_text().replace("Update", "Updata"))
    assert main(["release", "verify", str(path), *both, *trusted]) == 1


def test_once_is_a_program(instance: Instance, server: FakeServer) -> None:
    instance.offer(manifest("1.1.0", 11))
    with instance.running("once") as process:
        assert process.wait(30) == 0
    assert server.states[-1] == "succeeded"
    assert "offer_ended" in (instance.folder / "agent.log").read_text()


def test_the_module_is_the_command() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "dmr_agent", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("dmr-agent ")

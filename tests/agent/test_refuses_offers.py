"""What the agent must not install: reported as failed, with the reason, and the Instance left as it is."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dmr_agent.signatures import sign

from .fakes import FakeServer, Instance, manifest, public


def refusal(instance: Instance, server: FakeServer) -> str:
    """The detail of the one report that a refused offer brings."""
    result = instance.agent()
    assert result.returncode == 1, result.stderr
    assert server.states == ["failed"]
    assert [(step["name"], step["state"]) for step in server.last["steps"]] == [("verify", "failed")]
    assert instance.lines("installs") == []
    assert instance.lines("undos") == []
    assert instance.version == "1.0.0"
    assert instance.journal["installation"] is None
    assert instance.journal["highest"] == 10
    return str(server.last["detail"])


def test_refuses_a_manifest_changed_by_one_byte(instance: Instance, server: FakeServer) -> None:
    offer = instance.offer(manifest("1.1.0", 11))
    raw = base64.b64decode(offer["manifest"]).replace(b"example/bot", b"exbmple/bot")
    offer["manifest"] = base64.b64encode(raw).decode()
    assert refusal(instance, server) == "refused: 0 different trusted keys signed it, 2 must"


def test_refuses_one_signature(instance: Instance, server: FakeServer) -> None:
    instance.offer(manifest("1.1.0", 11), signers=[0])
    assert "1 different trusted keys" in refusal(instance, server)


def test_refuses_two_signatures_by_the_same_key(instance: Instance, server: FakeServer) -> None:
    instance.offer(manifest("1.1.0", 11), signers=[1, 1])
    assert "1 different trusted keys" in refusal(instance, server)


def test_refuses_a_signature_under_another_key_id(instance: Instance, server: FakeServer) -> None:
    offer = instance.offer(manifest("1.1.0", 11), signers=[0, 1])
    offer["signatures"][1]["signature"] = offer["signatures"][0]["signature"]
    assert "1 different trusted keys" in refusal(instance, server)


def test_refuses_an_untrusted_key(instance: Instance, server: FakeServer) -> None:
    instance.offer(manifest("1.1.0", 11), signers=[0, 2])
    assert "1 different trusted keys" in refusal(instance, server)


@pytest.mark.parametrize("signatures", [None, "x", [], [None, 1, {}], [{"keyId": "a", "signature": "b"}] * 3])
def test_refuses_signatures_that_are_none(instance: Instance, server: FakeServer, signatures: Any) -> None:
    instance.offer(manifest("1.1.0", 11), signatures=signatures)
    assert "0 different trusted keys" in refusal(instance, server)


def test_takes_two_good_signatures_among_bad_ones(instance: Instance, server: FakeServer) -> None:
    offer = instance.offer(manifest("1.1.0", 11), signers=[2, 0, 1])
    offer["signatures"].insert(0, {"keyId": public(instance.staff[0]), "signature": "!"})
    assert instance.agent().returncode == 0


def test_needs_as_many_keys_as_the_threshold_says(instance: Instance, server: FakeServer) -> None:
    instance.settings["trusted_keys"] = [public(key) for key in instance.staff]
    instance.settings["threshold"] = 3
    instance.offer(manifest("1.1.0", 11), signers=[0, 1])
    assert refusal(instance, server) == "refused: 2 different trusted keys signed it, 3 must"


def test_refuses_a_signed_manifest_that_is_not_canonical(instance: Instance, server: FakeServer) -> None:
    instance.offer(json.dumps(manifest("1.1.0", 11)).encode())
    assert refusal(instance, server) == "refused: the manifest is not in canonical form"


@pytest.mark.parametrize("sequence", [9, 10])
def test_refuses_a_downgrade(instance: Instance, server: FakeServer, sequence: int) -> None:
    instance.offer(manifest("1.1.0", sequence))
    assert "a downgrade" in refusal(instance, server)


def test_refuses_a_downgrade_after_an_update(instance: Instance, server: FakeServer) -> None:
    instance.offer(manifest("1.1.0", 12))
    assert instance.agent().returncode == 0
    instance.offer(manifest("1.0.5", 11), nonce="nonce-2")
    assert instance.agent().returncode == 1
    assert "its sequence is 11, 12 was installed" in server.last["detail"]
    assert instance.version == "1.1.0"


def test_refuses_to_skip_a_version_that_is_required_first(instance: Instance, server: FakeServer) -> None:
    instance.offer(manifest("2.0.0", 20, requires={"minVersion": "1.5.0"}))
    assert refusal(instance, server) == "refused: it needs 1.5.0, and 1.0.0 is installed"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"version": "9.9.9"}, "the offer's version is not the manifest's"),
        ({"severity": "critical"}, "the offer's severity is not the manifest's"),
        ({"deadline": "2020-01-01T00:00:00Z"}, "has passed"),
        ({"deadline": "2999-01-01T00:00:00"}, "the deadline is no time in UTC"),
        ({"deadline": None}, "the deadline is no time in UTC"),
        ({"manifest": "%%%"}, "not base64"),
        ({"manifest": None}, "0 different trusted keys"),
    ],
)
def test_refuses_an_offer_around_the_manifest(
    instance: Instance, server: FakeServer, more: dict[str, Any], reason: str
) -> None:
    instance.offer(manifest("1.1.0", 11), **more)
    assert reason in refusal(instance, server)


@pytest.mark.parametrize(
    "more",
    [
        {"schema": 2},
        {"schema": True},
        {"components": []},
        {"components": [{"name": "bot", "image": "x", "digest": "sha256:short"}]},
        {"severity": "urgent"},
        {"sequence": "11"},
        {"requires": {"minVersion": "new"}},
    ],
)
def test_refuses_a_signed_manifest_of_another_shape(
    instance: Instance, server: FakeServer, more: dict[str, Any]
) -> None:
    instance.offer(manifest("1.1.0", 11, **more))
    assert "the manifest is wrong" in refusal(instance, server)


@pytest.mark.parametrize("offer", [1, "x", [], {}, {"target": "a"}, {"target": True, "nonce": "a"}, {"nonce": "a"}])
def test_ignores_an_offer_that_nothing_can_be_said_about(instance: Instance, server: FakeServer, offer: Any) -> None:
    server.offers = [offer]
    assert instance.agent().returncode == 1
    assert server.reports == []


def test_never_installs_the_same_target_and_nonce_twice(instance: Instance, server: FakeServer) -> None:
    instance.script("install", "echo run >>installs; exit 1")
    offer = instance.offer(manifest("1.1.0", 11))
    instance.agent()
    first = server.last
    server.offers = [offer]
    instance.agent()
    assert instance.lines("installs") == ["run"]
    assert server.last == first
    server.offers = []
    instance.offer(manifest("1.1.0", 11), nonce="nonce-2")
    instance.agent()
    assert instance.lines("installs") == ["run", "run"]


def test_a_release_that_was_rolled_back_may_be_tried_again(instance: Instance, server: FakeServer) -> None:
    (instance.folder / "broken-1.1.0").touch()
    instance.offer(manifest("1.1.0", 11))
    instance.agent()
    assert server.last["state"] == "rolled_back"
    (instance.folder / "broken-1.1.0").unlink()
    instance.offer(manifest("1.1.0", 11), nonce="nonce-2")
    assert instance.agent().returncode == 0
    assert instance.version == "1.1.0"


def test_a_key_listed_twice_counts_once(instance: Instance, server: FakeServer) -> None:
    raw = rfc8785.dumps(manifest("1.1.0", 11))
    stranger = Ed25519PrivateKey.generate()
    instance.settings["trusted_keys"] = [public(instance.staff[0])] * 2 + [public(instance.staff[1])]
    instance.offer(raw, signatures=[sign(raw, instance.staff[0])] * 2 + [sign(raw, stranger)])
    assert "1 different trusted keys" in refusal(instance, server)

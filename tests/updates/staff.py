"""What tests of updates need: staff who sign, releases, Instances that check in and report."""

from __future__ import annotations

import base64
import hashlib
import itertools
from typing import Any

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.contrib.auth.models import User

from tests import factories
from updates import agent_protocol, releases, reports, rollouts, staff_keys
from updates.agent_protocol import Offer
from updates.models import Release, Rollout, StaffKey, Target

_numbers = itertools.count(1)


def public_text(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def sign(content: bytes, key: Ed25519PrivateKey) -> dict[str, str]:
    """As `dmr-agent release sign` prints it."""
    raw = key.public_key().public_bytes_raw()
    return {"keyId": hashlib.sha256(raw).hexdigest(), "signature": base64.b64encode(key.sign(content)).decode()}


def manifest(version: str = "1.1.0", sequence: int = 11, **more: Any) -> dict[str, Any]:
    component = {
        "name": "bot",
        "image": f"example.ee/bot:{version}",
        "digest": "sha256:" + "0" * 64,
        "settings": {"greeting": "Tere õhtust"},
    }
    return {
        "schema": 1,
        "version": version,
        "sequence": sequence,
        "severity": "mandatory",
        "requires": {"minVersion": "1.0.0"},
        "components": [component],
        "notes": {"et": "Uuendus", "en": "Update"},
        **more,
    }


class Staff:
    """Anna and Bert, each with a registered key."""

    def __init__(self) -> None:
        self.anna, self.bert = (User.objects.create_user(name, is_staff=True) for name in ("anna", "bert"))
        self.keys = {user.username: Ed25519PrivateKey.generate() for user in (self.anna, self.bert)}
        self.rows = {
            user.username: staff_keys.add(public_text(self.keys[user.username]), user, actor="tests")
            for user in (self.anna, self.bert)
        }

    @staticmethod
    def deactivate(user: User) -> None:
        user.is_active = False
        user.save()

    def more_key(self, user: User) -> Ed25519PrivateKey:
        key = Ed25519PrivateKey.generate()
        staff_keys.add(public_text(key), user, actor="tests")
        return key

    def row(self, key: Ed25519PrivateKey) -> StaffKey:
        return StaffKey.objects.get(public_key=public_text(key))

    def draft(self, version: str = "1.1.0", *keys: Ed25519PrivateKey, **more: Any) -> Release:
        """Imported by Anna, and signed by both, or with `keys`."""
        sequence = more.pop("sequence", 10 * next(_numbers))
        content = rfc8785.dumps(manifest(version, sequence, **more))
        signed = [sign(content, key) for key in keys or self.keys.values()]
        return releases.import_manifest(content, signed, self.anna)

    def approved(self, version: str = "1.1.0", *keys: Ed25519PrivateKey, **more: Any) -> Release:
        release = self.draft(version, *keys, **more)
        releases.approve(release, self.bert)
        release.refresh_from_db()
        return release

    def published(self, version: str = "1.1.0", **more: Any) -> Release:
        release = self.approved(version, **more)
        releases.publish(release, self.anna)
        release.refresh_from_db()
        return release

    def rollout(self, instances: int = 3, version: str = "1.1.0", **plan: Any) -> Rollout:
        """Of a new release, over that many new Instances, each a wave."""
        for _ in range(instances):
            factories.participant()
        chosen: dict[str, Any] = {"waves": (34, 67, 100), "soak_seconds": 0, **plan}
        return rollouts.start(self.published(version), rollouts.Plan(**chosen), self.anna)


def check_in(target: Target, version: str | None = "1.0.0", digest: str | None = None) -> Offer | None:
    return agent_protocol.check_in(target.participant_id, version, digest or f"sha256:of-{version}")


def report(
    target: Target, state: str, detail: str = "", nonce: str | None = None, sequence: int | None = None
) -> str:
    """As from the target's own agent; returns the answer."""
    target.refresh_from_db()
    said = reports.Said(
        target=target.public_id,
        nonce=target.nonce if nonce is None else nonce,
        sequence=next(_numbers) if sequence is None else sequence,
        state=state,
        detail=detail,
        steps=[],
    )
    return reports.take(target.participant_id, said)


def bring_to(target: Target, state: str, detail: str = "") -> None:
    """Offers, and reports all that comes before `state` and itself."""
    assert check_in(target) is not None
    before = {
        "offered": (),
        "accepted": ("accepted",),
        "installing": ("accepted", "installing"),
        "verifying": ("accepted", "installing", "verifying"),
        "succeeded": ("accepted", "installing", "verifying", "succeeded"),
        "rolled_back": ("accepted", "installing", "verifying", "rolled_back"),
        "failed": ("failed",),
    }
    for each in before[state]:
        report(target, each, detail if each == state else "")
    target.refresh_from_db()


def in_wave(rollout: Rollout, number: int) -> list[Target]:
    return list(rollout.targets.filter(wave__number=number).select_related("participant"))


def states(rollout: Rollout) -> list[str]:
    return list(rollout.targets.order_by("wave__number", "id").values_list("state", flat=True))

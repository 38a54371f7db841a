"""A release's life, and all that is refused on its way."""

from __future__ import annotations

import json
from typing import Any

import pytest
import rfc8785
from django.db import DatabaseError, IntegrityError, transaction

from participants.models import Change
from tests.updates.staff import Staff, manifest, sign
from updates import releases, rollouts, signatures, staff_keys
from updates.manifest import BadManifest, parse, version_key
from updates.models import Release, Signature

State = Release.State


def test_goes_from_draft_to_published_and_withdrawn(staff: Staff) -> None:
    release = staff.draft()
    assert (release.state, release.author) == (State.DRAFT, staff.anna)
    releases.approve(release, staff.bert)
    releases.publish(release, staff.anna)
    release.refresh_from_db()
    assert (release.state, release.approver) == (State.PUBLISHED, staff.bert)
    assert (release.severity, release.notes_et, release.notes_en) == ("mandatory", "Uuendus", "Update")
    releases.withdraw(release, staff.bert, "a hole")
    release.refresh_from_db()
    assert release.state == State.WITHDRAWN
    changes = Change.objects.filter(kind="release", subject="1.1.0").order_by("id").values_list("action", "actor")
    assert list(changes) == [
        ("import", "anna"), ("sign", "anna"), ("sign", "anna"),
        ("approve", "bert"), ("publish", "anna"), ("withdraw", "bert"),
    ]  # fmt: skip


def test_keeps_the_canonical_bytes_whatever_the_layout(staff: Staff) -> None:
    said = manifest()
    canonical = rfc8785.dumps(said)
    pretty = json.dumps(said, indent=4, ensure_ascii=True, sort_keys=False).encode()
    release = releases.import_manifest(pretty, [sign(canonical, staff.keys["bert"])], staff.anna)
    release.refresh_from_db()
    assert release.canonical == canonical
    assert release.digest == parse(canonical).digest
    assert release.digest.startswith("sha256:")


def test_refuses_approval_by_the_author(staff: Staff) -> None:
    release = staff.draft()
    with pytest.raises(releases.OwnWork, match="written by anna"):
        releases.approve(release, staff.anna)
    with pytest.raises(IntegrityError, match="nobody_approves_what_they_wrote"), transaction.atomic():
        Release.objects.filter(pk=release.pk).update(approver=staff.anna)


def test_refuses_what_is_out_of_order(staff: Staff) -> None:
    release = staff.draft()
    with pytest.raises(releases.WrongState, match="is draft"):
        releases.publish(release, staff.bert)
    releases.approve(release, staff.bert)
    with pytest.raises(releases.WrongState, match="is approved"):
        releases.approve(release, staff.bert)
    releases.publish(release, staff.bert)
    with pytest.raises(releases.WrongState, match="is published"):
        releases.publish(release, staff.bert)
    releases.withdraw(release, staff.bert)
    with pytest.raises(releases.WrongState, match="is withdrawn"):
        releases.withdraw(release, staff.bert)
    with (
        pytest.raises(IntegrityError, match="release_is_approved_by_somebody"),
        transaction.atomic(),
    ):
        Release.objects.filter(pk=staff.draft("2.0.0").pk).update(state=State.APPROVED)


def test_refuses_a_manifest_changed_by_one_byte(staff: Staff) -> None:
    content = rfc8785.dumps(manifest())
    signed = [sign(content, key) for key in staff.keys.values()]
    changed = content.replace(b"Update", b"Updata")
    with pytest.raises(signatures.BadSignature, match="signature 1: it is not anna's signature of this manifest"):
        releases.import_manifest(changed, signed, staff.anna)
    assert not Release.objects.exists()


def test_does_not_publish_bytes_that_changed_below_us(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    release = staff.approved()
    changed = release.canonical.replace(b"Update", b"Updata")
    monkeypatch.setattr(Release, "canonical", property(lambda self: changed))
    with pytest.raises(signatures.NotEnoughSignatures, match="nobody signed"):
        releases.publish(release, staff.anna)


def test_needs_two_signatures(staff: Staff) -> None:
    release = staff.approved("1.1.0", staff.keys["anna"])
    with pytest.raises(signatures.NotEnoughSignatures, match="2 different people; only anna signed"):
        releases.publish(release, staff.bert)


def test_two_keys_of_one_person_are_one_person(staff: Staff) -> None:
    release = staff.approved("1.1.0", staff.keys["anna"], staff.more_key(staff.anna))
    assert release.signatures.count() == 2
    with pytest.raises(signatures.NotEnoughSignatures, match="only anna"):
        releases.publish(release, staff.bert)


def test_a_withdrawn_key_counts_for_nothing(staff: Staff) -> None:
    release = staff.approved()
    assert staff_keys.withdraw(staff.rows["bert"], actor="anna")
    assert not staff_keys.withdraw(staff.rows["bert"], actor="anna")
    with pytest.raises(signatures.NotEnoughSignatures, match="only anna"):
        releases.publish(release, staff.anna)
    content = rfc8785.dumps(manifest("1.2.0", 10_000))
    with pytest.raises(signatures.BadSignature, match="was withdrawn"):
        releases.import_manifest(content, [sign(content, staff.keys["bert"])], staff.anna)


def test_the_same_manifest_again_brings_more_signatures(staff: Staff) -> None:
    first = staff.approved("1.1.0", staff.keys["anna"])
    more = [sign(first.canonical, key) for key in staff.keys.values()]
    assert releases.import_manifest(first.canonical, more, staff.bert) == first
    assert Signature.objects.count() == 2
    releases.publish(first, staff.anna)
    with pytest.raises(releases.WrongState, match="is published"):
        releases.import_manifest(first.canonical, more, staff.bert)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"keyId": "0" * 64, "signature": "AAAA"}, "no staff key '0000"),
        ({"keyId": 1, "signature": "AAAA"}, "must be texts"),
        ({}, "must be texts"),
        (["keyId"], "must be {"),
    ],
)
def test_refuses_signatures_of_nobody(staff: Staff, given: Any, said: str) -> None:
    with pytest.raises(signatures.BadSignature, match=f"signature 1.*{said}"):
        releases.import_manifest(json.dumps(manifest()).encode(), [given], staff.anna)


@pytest.mark.parametrize("value", ["", "not base64", "AAAA", "ÕÄÖÜ"])
def test_refuses_signatures_that_are_none(staff: Staff, value: str) -> None:
    given = {"keyId": staff.rows["anna"].key_id, "signature": value}
    with pytest.raises(signatures.BadSignature, match="not anna's signature"):
        releases.import_manifest(json.dumps(manifest()).encode(), [given], staff.anna)


def test_versions_and_sequences_are_used_once_and_grow(staff: Staff) -> None:
    staff.draft("1.1.0", sequence=20)
    with pytest.raises(releases.ReleaseConflict, match=r"a release 1\.1\.0 with another manifest"):
        staff.draft("1.1.0", sequence=21)
    for sequence in (19, 20):
        with pytest.raises(releases.ReleaseConflict, match="must be above the last, 20"):
            staff.draft("1.2.0", sequence=sequence)


def test_does_not_publish_below_what_is_published(staff: Staff) -> None:
    older, newer = staff.approved("1.1.0", sequence=20), staff.approved("1.2.0", sequence=21)
    releases.publish(newer, staff.anna)
    with pytest.raises(releases.ReleaseConflict, match="downgrade"):
        releases.publish(older, staff.anna)


@pytest.mark.parametrize("column", ["manifest", "version", "sequence", "severity", "digest", "notes_en"])
def test_the_database_refuses_to_change_a_manifest(staff: Staff, column: str) -> None:
    release = staff.published()
    value: Any = {"manifest": b"{}", "sequence": 999, "severity": "critical"}.get(column, "other")
    with pytest.raises(DatabaseError, match="never changes what its manifest says"), transaction.atomic():
        Release.objects.filter(pk=release.pk).update(**{column: value})


def test_withdrawing_aborts_the_rollout(staff: Staff) -> None:
    rollout = staff.rollout()
    releases.withdraw(rollout.release, staff.bert)
    rollout.refresh_from_db()
    assert rollout.state == "aborted"
    assert rollout.reason == "1.1.0 was withdrawn"
    assert set(rollout.targets.values_list("state", flat=True)) == {"skipped"}


def test_withdrawing_a_key_pauses_what_it_carried(staff: Staff) -> None:
    rollout = staff.rollout()
    staff_keys.withdraw(staff.rows["anna"], actor="bert")
    rollout.refresh_from_db()
    assert rollout.state == "paused"
    assert "a staff key was withdrawn" in rollout.reason
    with pytest.raises(signatures.NotEnoughSignatures):
        rollouts.resume(rollout, actor="bert")


def test_a_key_is_one_persons_for_ever(staff: Staff) -> None:
    text = staff.rows["anna"].public_key
    with pytest.raises(staff_keys.KeyTaken, match="registered for anna"):
        staff_keys.add(text, staff.bert, actor="bert")
    staff_keys.withdraw(staff.rows["anna"], actor="anna")
    with pytest.raises(staff_keys.KeyTaken, match="was withdrawn"):
        staff_keys.add(text, staff.anna, actor="anna")


@pytest.mark.parametrize(
    "text", ["", "AAAA", "no base64!", "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----"]
)
def test_refuses_what_is_no_public_key(staff: Staff, text: str) -> None:
    with pytest.raises(staff_keys.BadKey, match="base64 of 32 bytes"):
        staff_keys.add(text, staff.anna, actor="anna")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"schema": 2}, "schema"),
        ({"schema": True}, "schema"),
        ({"version": "1.1"}, "version"),
        ({"version": "1.1.0\n"}, "version"),
        ({"version": None}, "version"),
        ({"sequence": 0}, "sequence"),
        ({"sequence": 1.0}, "sequence"),
        ({"sequence": True}, "sequence"),
        ({"sequence": 2**53}, "sequence"),
        ({"severity": "urgent"}, "severity"),
        ({"severity": []}, "severity"),
        ({"requires": []}, "requires"),
        ({"requires": {"minVersion": "one"}}, "requires.minVersion"),
        ({"requires": {"minVersoin": "1.0.0"}}, "requires.minVersoin"),
        ({"components": []}, "components"),
        ({"components": {}}, "components"),
        ({"components": ["bot"]}, r"components\[0\]"),
        ({"components": [{"name": "", "image": "x", "digest": "sha256:" + "0" * 64}]}, r"components\[0\].name"),
        ({"components": [{"name": "bot", "digest": "sha256:" + "0" * 64}]}, r"components\[0\].image"),
        ({"components": [{"name": "bot", "image": "x", "digest": "sha256:0"}]}, r"components\[0\].digest"),
        ({"components": manifest()["components"] * 2}, "components"),
        ({"components": [{**manifest()["components"][0], "settings": []}]}, r"components\[0\].settings"),
        ({"components": [{**manifest()["components"][0], "image2": "x"}]}, r"components\[0\].image2"),
        ({"notes": "text"}, "notes"),
        ({"notes": {"en": 1}}, "notes.en"),
        ({"notes": {"ru": "x"}}, "notes.ru"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_names_the_bad_field_of_a_manifest_in_one_line(more: dict[str, Any], field: str) -> None:
    with pytest.raises(BadManifest, match=rf"^The manifest's {field} .*\.$") as raised:
        parse(json.dumps(manifest() | more).encode())
    assert "\n" not in raised.value.detail


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"a":1,"a":2}', b'{"schema":NaN}', b"[" * 100_000, b" " * (1 << 20 | 1)]
)
def test_refuses_what_is_no_manifest_at_all(content: bytes) -> None:
    with pytest.raises(BadManifest) as raised:
        parse(content)
    assert "\n" not in raised.value.detail


def test_refuses_what_has_no_canonical_form() -> None:
    component = {**manifest()["components"][0], "settings": {"big": 2**60}}
    with pytest.raises(BadManifest, match="no canonical form"):
        parse(json.dumps(manifest() | {"components": [component]}).encode())


def test_requires_settings_and_notes_may_be_absent() -> None:
    said = manifest()
    del said["requires"], said["notes"], said["components"][0]["settings"]
    parsed = parse(json.dumps(said).encode())
    assert (parsed.min_version, parsed.notes("et")) == (None, "")


def test_versions_are_ordered_as_semver_says() -> None:
    ordered = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
               "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0"]  # fmt: skip
    backwards = ordered[::-1]
    assert sorted(backwards, key=version_key) == ordered
    assert version_key("1.0.0+a") == version_key("1.0.0+b")

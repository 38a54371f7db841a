"""What staff do with releases and rollouts in admin."""

from __future__ import annotations

import json
import re

import pytest
import rfc8785
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from tests import factories
from tests.staff.people import chosen
from tests.updates.staff import Staff, bring_to, in_wave, manifest, public_text, report, sign
from updates import reports
from updates.models import Release, Rollout, StaffKey


@pytest.fixture
def anna(staff: Staff) -> Client:
    return logged_in(staff.anna)


@pytest.fixture
def bert(staff: Staff) -> Client:
    return logged_in(staff.bert)


def logged_in(user: User) -> Client:
    user.is_superuser = True
    user.save()
    client = Client()
    client.force_login(user)
    return client


def text_of(answer: object) -> str:
    content: bytes = getattr(answer, "content")  # noqa: B009
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", content.decode()))


def press(client: Client, model: str, pk: int, name: str) -> str:
    answer = client.post(reverse(f"admin:updates_{model}_do", args=[pk, name]), follow=True)
    assert answer.status_code == 200
    return text_of(answer)


def test_a_release_from_import_to_rollout(staff: Staff, anna: Client, bert: Client) -> None:
    content = rfc8785.dumps(manifest())
    lines = "\n".join(json.dumps(sign(content, key)) for key in staff.keys.values())
    answer = anna.post(
        reverse("admin:updates_release_add"),
        {"manifest_file": SimpleUploadedFile("m.json", content), "signed": lines + "\n"},
        follow=True,
    )
    said = text_of(answer)
    assert "1.1.0 (draft) has 2 signatures." in said
    assert "2 of 2 people needed" in said
    assert "Tere õhtust" in said
    release = Release.objects.get()
    assert "somebody else must approve it" in press(anna, "release", release.pk, "approve")
    assert "1.1.0 is approved." in press(bert, "release", release.pk, "approve")
    assert "cannot be done any more" in press(bert, "release", release.pk, "approve")
    assert "1.1.0 is published." in press(anna, "release", release.pk, "publish")
    factories.participant()
    form = {
        "release": release.pk, "waves": "10,50,100", "gate": "1.0", "soak_seconds": "0", "max_failures": "0",
        "participant_type": "Chatbot",
    }  # fmt: skip
    said = text_of(anna.post(reverse("admin:updates_rollout_add"), form, follow=True))
    assert "The rollout of 1.1.0 runs, for 1 Instance." in said
    rollout = Rollout.objects.get()
    assert "Paused; 0 offers withdrawn." in press(bert, "rollout", rollout.pk, "pause")
    assert "It goes on; 0 failures excused." in press(bert, "rollout", rollout.pk, "resume")
    assert "Aborted; 1 Instance left as it is." in press(bert, "rollout", rollout.pk, "abort")
    assert "1.1.0 is withdrawn." in press(bert, "release", release.pk, "withdraw")


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({}, "Choose a file, or paste the manifest"),
        ({"manifest_text": "{"}, "The manifest is not JSON"),
        ({"manifest_text": json.dumps(manifest(severity="x"))}, "severity must be one of"),
        ({"manifest_text": json.dumps(manifest()), "signed": "{"}, "signature 1 is not JSON"),
        ({"manifest_text": json.dumps(manifest()), "signed": "[]"}, "signature 1 must be {"),
    ],
)
def test_says_what_is_wrong_with_an_import(anna: Client, form: dict[str, str], said: str) -> None:
    answer = anna.post(reverse("admin:updates_release_add"), form)
    assert answer.status_code == 200
    assert said in text_of(answer)
    assert not Release.objects.exists()


def test_says_what_is_wrong_with_a_rollout(staff: Staff, anna: Client) -> None:
    form = {
        "release": staff.published().pk, "waves": "10,x", "gate": "0", "soak_seconds": "0", "max_failures": "0",
        "participant_type": "Chatbot",
    }  # fmt: skip
    url = reverse("admin:updates_rollout_add")
    assert "Percentages with commas between" in text_of(anna.post(url, form))
    assert "must be growing percentages" in text_of(anna.post(url, form | {"waves": "10"}))
    assert "must be a share above 0" in text_of(anna.post(url, form | {"waves": "100"}))
    assert "nobody to update" in text_of(anna.post(url, form | {"waves": "100", "gate": "1"}))
    assert not Rollout.objects.exists()


def test_registers_and_withdraws_keys(staff: Staff, anna: Client) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    url = reverse("admin:updates_staffkey_add")
    form = {"person": staff.bert.pk, "public_key": public_text(Ed25519PrivateKey.generate()) + "\n"}
    assert "bert's from now on" in text_of(anna.post(url, form, follow=True)).replace("&#x27;", "'")
    assert "This key is registered for bert" in text_of(anna.post(url, form))
    assert "base64 of 32 bytes" in text_of(anna.post(url, form | {"public_key": "AAAA"}))
    key = staff.rows["anna"]
    assert "The key is withdrawn." in press(anna, "staffkey", key.pk, "withdraw")
    answer = chosen(anna, reverse("admin:updates_staffkey_changelist"), "withdraw", StaffKey.objects.all())
    assert "2 withdrawn; 1 left alone." in text_of(answer)


def test_acts_on_many_releases(staff: Staff, anna: Client, bert: Client) -> None:
    staff.draft("1.1.0")
    staff.draft("1.2.0", staff.keys["anna"])
    rows = list(Release.objects.all())
    url = reverse("admin:updates_release_changelist")
    assert "0 approved; 2 left alone." in text_of(chosen(anna, url, "approve", rows))
    assert "2 approved; 0 left alone." in text_of(chosen(bert, url, "approve", rows))
    said = text_of(chosen(bert, url, "publish", rows))
    assert "1 published; 1 left alone." in said
    assert "1.2.0 needs the valid signatures of 2 different people; only anna signed it." in said


def test_the_progress_of_a_rollout(staff: Staff, anna: Client) -> None:
    rollout = staff.rollout(4, waves=(50, 100), max_failures=1)
    first, second = in_wave(rollout, 1)
    bring_to(first, "succeeded")
    bring_to(second, "rolled_back", "unhealthy during the soak time")
    url = reverse("admin:updates_rollout_change", args=[rollout.pk])
    answer = anna.get(url)
    html, said = answer.content.decode(), text_of(answer)
    assert 'aria-label="1 succeeded, 1 failed, rolled back or timed out"' in html
    assert "width:50.00%" in html
    assert "unhealthy during the soak time" in said
    assert "Waiting 2" in said
    assert second.participant.name in text_of(anna.get(url, {"target_state": "rolled_back"}))
    assert first.participant.name not in text_of(anna.get(url, {"target_state": "rolled_back"}))
    events = text_of(anna.get(reverse("admin:updates_target_change", args=[second.pk])))
    assert "Rolled Back" in events
    assert "rolled_back" not in events, "a state is said in words"
    with pytest.raises(reports.Contradiction):
        report(first, "failed")
    assert "contradicted" in text_of(anna.get(url))
    listed = text_of(anna.get(reverse("admin:updates_targetevent_changelist"), {"kind__exact": "contradiction"}))
    assert "is said to be failed" in listed


@pytest.mark.parametrize("model", ["staffkey", "release", "rollout", "target", "targetevent"])
def test_lists_need_no_query_a_row(
    staff: Staff, anna: Client, model: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for version in ("1.1.0", "1.2.0", "1.3.0"):
        rollout = staff.rollout(3, version)
        bring_to(in_wave(rollout, 1)[0], "succeeded")
        staff.more_key(staff.anna)
    with django_assert_max_num_queries(12):
        assert anna.get(reverse(f"admin:updates_{model}_changelist")).status_code == 200


def test_a_rollouts_page_needs_no_query_a_row(
    staff: Staff, anna: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    rollout = staff.rollout(130)
    url = reverse("admin:updates_rollout_change", args=[rollout.pk])
    with django_assert_max_num_queries(12):
        said = text_of(anna.get(url))
    assert "Page 1 of 2" in said
    assert "Page 2 of 2" in text_of(anna.get(url, {"p": "2"}))


def test_nothing_is_edited_or_deleted_by_hand(staff: Staff, anna: Client) -> None:
    rollout = staff.rollout()
    rows = {"staffkey": staff.rows["anna"].pk, "release": rollout.release_id, "rollout": rollout.pk,
            "target": rollout.targets.all()[0].pk}  # fmt: skip
    for model, pk in rows.items():
        assert anna.post(reverse(f"admin:updates_{model}_delete", args=[pk]), {"post": "yes"}).status_code == 403
        assert anna.post(reverse(f"admin:updates_{model}_change", args=[pk]), {"state": "x"}).status_code == 403


def test_the_history_is_among_the_changes(staff: Staff, anna: Client) -> None:
    rollout = staff.rollout()
    for model, row, action in (
        ("release", rollout.release, "publish"), ("rollout", rollout, "start"),
        ("staffkey", staff.rows["anna"], "add"),
    ):  # fmt: skip
        answer = anna.get(reverse(f"admin:updates_{model}_history", args=[row.pk]), follow=True)
        assert answer.status_code == 200
        assert action in text_of(answer)


def test_buttons_need_the_permission(staff: Staff) -> None:
    from django.contrib.auth.models import Permission

    rollout = staff.rollout()
    staff.bert.user_permissions.add(Permission.objects.get(codename="view_rollout"))
    client = Client()
    client.force_login(staff.bert)
    url = reverse("admin:updates_rollout_change", args=[rollout.pk])
    assert "Abort" not in text_of(client.get(url))
    do = reverse("admin:updates_rollout_do", args=[rollout.pk, "abort"])
    assert client.post(do).status_code == 403
    assert client.get(do).status_code == 405
    assert client.get(reverse("admin:updates_rollout_add")).status_code == 403
    rollout.refresh_from_db()
    assert rollout.state == "running"

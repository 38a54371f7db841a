"""Check-ins and reports, as agents meet them."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import time_machine
from django.test import Client

from participants import registry
from participants.models import Participant
from participants.scopes import Scope
from tests import factories
from tests.updates.staff import Staff, bring_to, check_in, in_wave, manifest, report
from updates import agent_protocol, metrics, reports, rollouts, targets
from updates.agent_protocol import Fit, fit, pause_for
from updates.models import InstalledRelease, Release, Report, Rollout, Target, TargetEvent
from updates.reports import Judgement, judge
from updates.scheduler import tick

START = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
URL = "/api/v1/agent/report"


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture
def rollout(staff: Staff) -> Rollout:
    return staff.rollout()


@pytest.fixture
def target(rollout: Rollout) -> Target:
    """Of the first wave."""
    return in_wave(rollout, 1)[0]


# -- check-in --


def test_an_offer_has_the_shape_that_agents_read(staff: Staff, target: Target) -> None:
    offer = check_in(target)
    assert offer is not None
    release = target.rollout.release
    said = json.loads(json.dumps(offer.shape()))
    assert base64.b64decode(said.pop("manifest")) == release.canonical
    assert sorted(each["keyId"] for each in said.pop("signatures")) == sorted(r.key_id for r in staff.rows.values())
    target.refresh_from_db()
    assert said == {
        "target": str(target.public_id),
        "version": "1.1.0",
        "severity": "mandatory",
        "deadline": "2026-03-01T13:00:00.000Z",
        "nonce": target.nonce,
    }
    assert len(target.nonce) >= 32


def test_the_same_offer_again_while_it_stands(target: Target, clock: time_machine.Traveller) -> None:
    first = check_in(target)
    clock.shift(60)
    assert check_in(target) == first
    assert target.events.count() == 1
    clock.shift(targets.OFFER)
    assert check_in(target) is None, "its deadline has passed, though no tick has come"
    bare = Target.objects.get(pk=target.pk)
    assert bare.state == "offered"


def test_a_key_that_is_not_for_updates_is_offered_nothing(client: Client, target: Target) -> None:
    row = Participant.objects.get(pk=target.participant_id)
    said = {"sequence": 1, "agentVersion": "0.1.0", "release": None, "health": "ok", "components": [], "measures": {}}
    offers = []
    for sequence, for_it in enumerate(([Scope.HEARTBEAT], [Scope.HEARTBEAT, Scope.UPDATES]), 1):
        _, key = registry.issue_key(row, actor="tests", scopes=for_it)
        answer = client.post(
            "/api/v1/agent/check-in",
            said | {"sequence": sequence},
            content_type="application/json",
            headers={"X-Api-Key": key},
        )
        assert answer.status_code == 200, answer.content
        offers.append(answer.json()["offer"])
    assert offers[0] is None
    assert offers[1]["version"] == "1.1.0"


def test_nothing_new_while_something_is_under_way(target: Target) -> None:
    bring_to(target, "installing")
    assert check_in(target) is None


def test_who_runs_the_release_already_has_succeeded(target: Target) -> None:
    assert check_in(target, "1.1.0", target.rollout.release.digest) is None
    target.refresh_from_db()
    assert (target.state, target.reason) == ("succeeded", "it runs this release already (1.1.0)")


@pytest.mark.parametrize(
    ("version", "state", "reason"),
    [
        ("1.2.0", "skipped", "it runs a newer version (1.2.0)"),
        ("0.9.9", "skipped", "it runs a version older than the release can be installed on (0.9.9)"),
    ],
)
def test_who_cannot_take_it_is_skipped(target: Target, version: str, state: str, reason: str) -> None:
    assert check_in(target, version) is None
    target.refresh_from_db()
    assert (target.state, target.reason) == (state, reason)


@pytest.mark.parametrize(
    ("version", "digest", "min_version", "expected"),
    [
        ("1.1.0", "sha256:this", None, Fit.SAME),
        ("9.9.9", "sha256:this", None, Fit.SAME),  # the digest says more than a name
        ("1.1.0", "sha256:other", None, Fit.NEEDED),
        ("1.0.9", "", "1.0.0", Fit.NEEDED),
        ("1.1.0-rc.1", "", "1.0.0", Fit.NEEDED),
        ("1.1.1-rc.1", "", None, Fit.NEWER),
        ("0.9.0", "", "1.0.0", Fit.TOO_OLD),
        ("0.9.0", "", None, Fit.NEEDED),
        ("", "", "1.0.0", Fit.NEEDED),
        ("whatever", "", "1.0.0", Fit.NEEDED),
    ],
)
def test_how_a_release_fits(version: str, digest: str, min_version: str | None, expected: Fit) -> None:
    assert fit(version, digest, Release(version="1.1.0", digest="sha256:this"), min_version) is expected


def test_notes_what_an_instance_runs_when_it_changes(target: Target, clock: time_machine.Traveller) -> None:
    check_in(target, None)
    check_in(target, "1.0.0", "sha256:a")
    clock.shift(10)
    check_in(target, "1.0.0", "sha256:a")
    row = InstalledRelease.objects.get(participant=target.participant)
    assert (row.version, row.digest, row.since) == ("1.0.0", "sha256:a", START)
    check_in(target, "1" * 500, "x" * 500)


def test_a_success_that_check_ins_belie_is_raised(target: Target) -> None:
    bring_to(target, "succeeded")
    check_in(target, "1.1.0", target.rollout.release.digest)
    target.refresh_from_db()
    assert target.contradicted_at is None
    for _ in range(3):
        check_in(target, "1.0.0")
    target.refresh_from_db()
    assert target.contradicted_at == START
    assert target.state == "succeeded"
    assert target.events.filter(kind="contradiction").count() == 1


@pytest.mark.parametrize(
    ("sizes", "low", "high"), [([], 24, 36), ([3], 4, 6), ([1000], 8, 12), ([5000], 24, 36), ([3, 1000], 8, 12)]
)
def test_the_pause_to_the_next_check_in(sizes: list[int], low: int, high: int) -> None:
    assert pause_for(sizes, lambda: 0.0) == low
    assert pause_for(sizes, lambda: 1.0) == high


def test_agents_hurry_while_there_is_something_to_do(rollout: Rollout, target: Target) -> None:
    def pause() -> int:
        return agent_protocol.next_check_in_seconds(target.participant_id, lambda: 0.5)

    other = in_wave(rollout, 2)[0]
    assert pause() == 5
    rollouts.pause(rollout, actor="anna")
    assert pause() == 30
    rollouts.resume(rollout, actor="anna")
    bring_to(target, "installing")
    rollouts.pause(rollout, actor="anna")
    assert pause() == 5, "what is under way goes on"
    report(target, "verifying")
    report(target, "succeeded")
    assert pause() == 30
    assert agent_protocol.next_check_in_seconds(other.participant_id, lambda: 0.5) == 30
    assert agent_protocol.next_check_in_seconds(factories.participant().row.pk, lambda: 0.5) == 30


# -- reports: the judgement --

_AGREED = {
    ("offered", "accepted"), ("offered", "failed"),
    ("accepted", "installing"), ("accepted", "verifying"), ("accepted", "succeeded"), ("accepted", "failed"),
    ("accepted", "rolled_back"), ("installing", "verifying"), ("installing", "succeeded"),
    ("installing", "failed"), ("installing", "rolled_back"),
    ("verifying", "succeeded"), ("verifying", "failed"), ("verifying", "rolled_back"),
}  # fmt: skip
_ALL = ("offered", "accepted", "installing", "verifying", "succeeded", "failed", "rolled_back")


@pytest.mark.parametrize("state", _ALL)
@pytest.mark.parametrize("said", reports.REPORTABLE)
def test_judges_by_the_order_of_states(state: str, said: str) -> None:
    expected = Judgement.CONTRADICTION
    if (state, said) in _AGREED:
        expected = Judgement.MOVE
    elif state == said or (state, said) == ("offered", "deferred"):
        expected = Judgement.KEEP
    assert judge(state, state != "offered", said) is expected


@pytest.mark.parametrize(
    ("state", "was_accepted", "said", "expected"),
    [
        ("timed_out", True, "succeeded", Judgement.MOVE),
        ("timed_out", True, "rolled_back", Judgement.MOVE),
        ("timed_out", True, "failed", Judgement.MOVE),
        ("timed_out", True, "installing", Judgement.KEEP),
        ("timed_out", True, "accepted", Judgement.WITHDRAWN),
        ("timed_out", False, "accepted", Judgement.WITHDRAWN),
        ("timed_out", False, "deferred", Judgement.WITHDRAWN),
        ("timed_out", False, "failed", Judgement.MOVE),
        ("timed_out", False, "succeeded", Judgement.CONTRADICTION),
        ("timed_out", False, "installing", Judgement.CONTRADICTION),
        ("skipped", True, "succeeded", Judgement.MOVE),
        ("skipped", False, "accepted", Judgement.WITHDRAWN),
        ("skipped", False, "failed", Judgement.WITHDRAWN),
        ("skipped", False, "succeeded", Judgement.CONTRADICTION),
        ("waiting", False, "accepted", Judgement.CONTRADICTION),
        ("unreachable", False, "succeeded", Judgement.CONTRADICTION),
    ],
)
def test_judges_what_comes_late(state: str, was_accepted: bool, said: str, expected: Judgement) -> None:
    assert judge(state, was_accepted, said) is expected


# -- reports: taken, repeated, refused --


def counted(result: str) -> float:
    return float(metrics.REPORTS.labels(result=result)._value.get())


def test_a_report_again_gets_the_first_answer(target: Target) -> None:
    bring_to(target, "offered")
    assert report(target, "accepted", sequence=900_007) == "accepted"
    assert report(target, "installing", sequence=900_008) == "installing"
    before = counted("repeated")
    assert report(target, "accepted", sequence=900_007) == "accepted", "the first answer, though it has moved on"
    assert counted("repeated") == before + 1
    assert target.events.count() == 3
    assert target.reports.count() == 2


def test_one_sequence_with_other_content_is_a_contradiction(target: Target) -> None:
    bring_to(target, "offered")
    report(target, "accepted", sequence=900_007)
    with pytest.raises(reports.Contradiction, match="Sequence 900007 was another report"):
        report(target, "failed", sequence=900_007)
    target.refresh_from_db()
    assert (target.state, target.contradicted_at) == ("accepted", START)


def test_what_contradicts_is_kept_and_not_believed(target: Target) -> None:
    bring_to(target, "offered")
    before = counted("contradiction")
    for _ in range(2):  # and the same again gets the same answer
        with pytest.raises(reports.Contradiction, match="target is offered, and is said to be succeeded"):
            report(target, "succeeded", "trust me", sequence=900_009)
    target.refresh_from_db()
    assert (target.state, target.contradicted_at) == ("offered", START)
    kept = target.events.get(kind=TargetEvent.Kind.CONTRADICTION)
    assert "trust me" in kept.detail
    assert counted("contradiction") == before + 1


def test_a_made_up_nonce_is_a_contradiction(target: Target) -> None:
    bring_to(target, "offered")
    with pytest.raises(reports.Contradiction, match="no offer with this nonce"):
        report(target, "accepted", nonce="made up")


def test_nothing_was_offered(target: Target) -> None:
    for state in reports.REPORTABLE:
        with pytest.raises(reports.Contradiction):
            report(target, state, nonce="made up")
    target.refresh_from_db()
    assert target.state == "waiting"
    assert target.events.filter(kind="contradiction").count() == len(reports.REPORTABLE)


def test_a_withdrawn_offer_cannot_have_been_installed(rollout: Rollout, target: Target) -> None:
    bring_to(target, "offered")
    nonce = target.nonce
    rollouts.pause(rollout, actor="anna")
    with pytest.raises(reports.OfferWithdrawn, match="Nothing is to be installed"):
        report(target, "accepted", nonce=nonce)
    with pytest.raises(reports.Contradiction):
        report(target, "succeeded", nonce=nonce)


def test_a_flood_of_contradictions_fills_no_table(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "MOST_REMARKS", 5)
    bring_to(target, "offered")
    taken = Report.objects.count()
    for _ in range(8):
        with pytest.raises(reports.Contradiction):
            report(target, "succeeded")
    assert target.events.filter(kind="contradiction").count() == 5
    assert Report.objects.count() == taken + 5


def test_deferring_keeps_the_offer_and_its_deadline(target: Target, clock: time_machine.Traveller) -> None:
    bring_to(target, "offered")
    assert report(target, "deferred", "at night") == "offered"
    assert report(target, "accepted") == "accepted"


def test_a_failure_says_why(target: Target) -> None:
    bring_to(target, "failed", "refused: 1 different trusted keys signed it, 2 must")
    assert target.reason == "refused: 1 different trusted keys signed it, 2 must"
    assert target.ended_at == START


def test_what_was_not_accepted_in_time_must_not_be_installed(target: Target, clock: time_machine.Traveller) -> None:
    bring_to(target, "offered")
    clock.shift(targets.OFFER)
    tick()
    with pytest.raises(reports.OfferWithdrawn):
        report(target, "accepted")
    assert report(target, "failed", "refused: the deadline has passed") == "failed"


# -- reports: over HTTP --


@pytest.fixture
def agent(rollout: Rollout, target: Target) -> Any:
    """Posts a report as the target's participant, with what is given changed."""
    from participants import registry

    _, key = registry.issue_key(target.participant, actor="tests")
    assert check_in(target) is not None
    target.refresh_from_db()
    body = {"target": str(target.public_id), "nonce": target.nonce, "sequence": 3, "state": "accepted", "detail": "",
            "steps": [{"name": "verify", "state": "succeeded", "seconds": 0.012}]}  # fmt: skip

    def post(**changes: Any) -> Any:
        headers = changes.pop("headers", {"X-Api-Key": key})
        return Client().post(URL, json.dumps({**body, **changes}), content_type="application/json", headers=headers)

    return post


def test_answers_202_and_the_state(agent: Any, target: Target) -> None:
    for _ in range(2):
        answer = agent()
        assert (answer.status_code, answer.json()) == (202, {"state": "accepted"})
    assert target.reports.get().steps == [{"name": "verify", "state": "succeeded", "seconds": 0.012}]


def test_answers_409_to_a_contradiction(agent: Any, target: Target) -> None:
    for _ in range(2):
        answer = agent(state="succeeded")
        assert answer.status_code == 409
        assert answer["Content-Type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:problem-type:dmr:report-contradiction"
    assert target.events.filter(kind="contradiction").count() == 1, "kept, though the request failed"


def test_answers_404_to_others(agent: Any, rollout: Rollout) -> None:
    other = in_wave(rollout, 2)[0]
    unknown, theirs = agent(target=str(uuid.uuid4())), agent(target=str(other.public_id), nonce="x")
    assert unknown.status_code == theirs.status_code == 404
    assert not other.events.exists()
    assert agent(headers=factories.participant().auth).status_code == 404


def test_wants_a_participants_key(agent: Any, staff_key: str) -> None:
    assert agent(headers={}).status_code == 401
    assert agent(headers={"X-Api-Key": "nonsense"}).status_code == 401
    assert agent(headers={"X-Api-Key": staff_key}).status_code == 403
    assert Client().get(URL).status_code in (401, 405)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target", "7"), ("target", None), ("target", 7), ("nonce", ""), ("nonce", 5), ("nonce", "x" * 201),
        ("nonce", "a\u0000"), ("sequence", -1), ("sequence", "1"), ("sequence", True), ("sequence", 2**63),
        ("sequence", None), ("state", "offered"), ("state", None), ("state", ["accepted"]), ("detail", 5),
        ("steps", {}), ("steps", [5]), ("steps", [{"name": "", "state": "x"}]),
        ("steps", [{"name": "a", "state": "x", "seconds": "1"}]), ("steps", [{"name": "a", "state": "x"}] * 51),
    ],
)  # fmt: skip
def test_names_the_bad_field(agent: Any, field: str, value: Any) -> None:
    answer = agent(**{field: value})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"].startswith(field)
    assert not Report.objects.exists()


def test_takes_any_text_as_detail(agent: Any, target: Target) -> None:
    answer = agent(state="failed", detail="õ\u0000\ud800\nlast line " + "x" * 5000, extra={"unknown": 1})
    assert answer.json() == {"state": "failed"}
    target.refresh_from_db()
    assert target.reason.startswith("õ   last line xxx")
    assert len(target.reason) == 500


def test_the_manifest_fits_what_agents_read() -> None:
    """The shapes of both sides, side by side: the server may not import the agent, a test may."""
    dmr_agent = pytest.importorskip("dmr_agent.manifest")
    import updates.manifest as ours

    content = json.dumps(manifest(), indent=1).encode()
    assert dmr_agent.parse(content).canonical == ours.parse(content).canonical
    assert dmr_agent.parse(content).digest == ours.parse(content).digest
    assert dmr_agent.MAX_BYTES == ours.MAX_BYTES
    assert timedelta(0) < targets.OFFER < targets.UNDER_WAY_LIMIT

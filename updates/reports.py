"""An agent's reports: taken once, believed where they fit what is known, kept and raised where they don't."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from dmr_project.lib.errors import Conflict, InvalidInput, NotFound
from dmr_project.lib.sentences import Sentence, Word
from updates import metrics, targets
from updates.models import Report, Target, TargetEvent, TargetState

S = TargetState
MOST_SEQUENCE = 2**63 - 1
MOST_STEPS = 50
MOST_TEXT = 200
DEFERRED = "deferred"
REPORTABLE = ("accepted", DEFERRED, "installing", "verifying", "succeeded", "failed", "rolled_back")
_ENDS = (S.SUCCEEDED, S.FAILED, S.ROLLED_BACK)
_ANSWERS = (S.ACCEPTED, S.FAILED, DEFERRED)  # what an agent says to an offer before it does anything

_SAYS = Sentence("says %(state)s: %(detail)s")
_NO_OFFER = Sentence("This offer does not stand any more: the target is %(state)s. Nothing is to be installed.")
_TOO_LATE = Sentence("says %(state)s to an offer that no longer stands")
_WITH_DETAIL = Sentence("%(why)s Detail: %(detail)s")
_OTHER_NONCE = Sentence("The target has no offer with this nonce, and is said to be %(state)s.")
_OTHER_STATE = Sentence("The target is %(known)s, and is said to be %(state)s.")
_OTHER_REPORT = Sentence("Sequence %(sequence)s was another report; now it says %(state)s.")
# The states as agents spell them, within these.
STATES = (
    Word("waiting"), Word("offered"), Word("accepted"), Word("deferred"), Word("installing"), Word("verifying"),
    Word("succeeded"), Word("failed"), Word("rolled_back"), Word("timed_out"), Word("unreachable"), Word("skipped"),
)  # fmt: skip

CONTRADICTION = "report-contradiction"
WITHDRAWN = "offer-withdrawn"


class NoSuchTarget(NotFound):
    code = "no-such-target"
    title = "There is no such target for this participant"


class Contradiction(Conflict):
    code = CONTRADICTION
    title = "The report contradicts what is known"


class OfferWithdrawn(Conflict):
    code = WITHDRAWN
    title = "The offer does not stand any more"


class InvalidReport(InvalidInput):
    code = "invalid-report"
    title = "The report has an invalid value"


@dataclass(frozen=True)
class Said:
    """A report as it came."""

    target: UUID
    nonce: str
    sequence: int
    state: str
    detail: str
    steps: list[dict[str, Any]]

    @property
    def digest(self) -> str:
        written = json.dumps([self.state, self.detail, self.steps], sort_keys=True)
        return hashlib.sha256(written.encode()).hexdigest()


class Judgement(Enum):
    MOVE = "move"  # believed: the target comes to this state
    KEEP = "keep"  # taken, and changes nothing
    WITHDRAWN = "withdrawn"  # about an offer that no longer stands: refused, and nobody's fault
    CONTRADICTION = "contradiction"


# Once it has accepted, an agent may leave out a step: a report that was lost makes no liar of the next one.
_NEXT: dict[str, tuple[str, ...]] = {
    S.OFFERED: (S.ACCEPTED, S.FAILED),  # failed: refused by the agent
    S.ACCEPTED: (S.INSTALLING, S.VERIFYING, S.SUCCEEDED, S.FAILED, S.ROLLED_BACK),
    S.INSTALLING: (S.VERIFYING, S.SUCCEEDED, S.FAILED, S.ROLLED_BACK),
    S.VERIFYING: (S.SUCCEEDED, S.FAILED, S.ROLLED_BACK),
}


def judge(state: str, was_accepted: bool, said: str) -> Judgement:
    """Pure. What to make of a report with the right nonce, for a target in `state`.

    Time that ran out is our guess and not a fact: what an agent that had accepted says of the end is believed
    also afterwards.
    """
    if said == DEFERRED and state == S.OFFERED:
        return Judgement.KEEP
    if said == state or said in _NEXT.get(state, ()):
        return Judgement.KEEP if said == state else Judgement.MOVE
    if state in (S.TIMED_OUT, S.SKIPPED) and was_accepted:
        if said in _ENDS:
            return Judgement.MOVE
        return Judgement.WITHDRAWN if said == S.ACCEPTED else Judgement.KEEP
    if state == S.TIMED_OUT and said == S.FAILED:
        return Judgement.MOVE  # it says now why it did not accept
    if state in (S.TIMED_OUT, S.SKIPPED) and said in _ANSWERS:
        return Judgement.WITHDRAWN
    return Judgement.CONTRADICTION


def take(participant_id: int, said: Said) -> str:
    """The state that the target has now. Raises NoSuchTarget, Contradiction, OfferWithdrawn.

    The same report again gets the same answer, be it yes or no.
    """
    with transaction.atomic():
        target = (
            Target.objects.select_for_update(of=("self",))
            .filter(public_id=said.target, participant_id=participant_id)
            .first()
        )
        if target is None:
            raise NoSuchTarget(f"There is no target {said.target} for this participant.")
        row = Report.objects.filter(target=target, nonce=said.nonce, sequence=said.sequence).first()
        if row is not None and row.digest == said.digest:
            metrics.REPORTS.labels(result="repeated").inc()
        elif row is not None:
            row = _contradict_sequence(target, said)
        else:
            row = _judge(target, said, timezone.now())
    # The refusal is raised after the commit: it is kept.
    if row.refusal_code == WITHDRAWN:
        raise OfferWithdrawn(row.refusal)
    if row.refusal_code:
        raise Contradiction(row.refusal)
    return row.answer


def _judge(target: Target, said: Said, now: datetime) -> Report:
    row = Report(
        target=target,
        nonce=said.nonce,
        sequence=said.sequence,
        state=said.state,
        detail=said.detail[: targets.MOST_DETAIL],
        steps=said.steps,
        digest=said.digest,
        at=now,
    )
    judgement = _judgement(target, said)
    if judgement is Judgement.MOVE:
        targets.move(target, S(said.state), now=now, actor=targets.AGENT, reason=said.detail)
    if judgement in (Judgement.MOVE, Judgement.KEEP):
        row.answer = target.state
        metrics.REPORTS.labels(result="taken").inc()
        if judgement is Judgement.KEEP and said.state != target.state:
            _remark(target, TargetEvent.Kind.NOTE, said, now, _SAYS(state=said.state, detail=said.detail))
    elif judgement is Judgement.WITHDRAWN:
        row.refusal_code = WITHDRAWN
        row.refusal = _NO_OFFER(state=target.state)
        metrics.REPORTS.labels(result="refused").inc()
        _remark(target, TargetEvent.Kind.NOTE, said, now, _TOO_LATE(state=said.state))
    else:
        row.refusal_code = CONTRADICTION
        row.refusal = _why(target, said)
        metrics.REPORTS.labels(result="contradiction").inc()
        _remark(
            target,
            TargetEvent.Kind.CONTRADICTION,
            said,
            now,
            _WITH_DETAIL(why=row.refusal, detail=said.detail) if said.detail else row.refusal,
        )
    # What contradicts is in the target's events; a flood of it must not fill this table.
    if not row.refusal_code or target.reports.exclude(refusal_code="").count() < targets.MOST_REMARKS:
        row.save(force_insert=True)
    return row


def _judgement(target: Target, said: Said) -> Judgement:
    if said.nonce == target.nonce and target.nonce:
        return judge(target.state, target.accepted_at is not None, said.state)
    # An offer withdrawn by a pause, whose answer crossed it on the way, is no lie. That it was installed would be.
    was_given = target.events.filter(to_state=S.OFFERED, nonce=said.nonce, kind=TargetEvent.Kind.TRANSITION).exists()
    if was_given and said.state in _ANSWERS:
        return Judgement.WITHDRAWN
    return Judgement.CONTRADICTION


def _why(target: Target, said: Said) -> str:
    if said.nonce != target.nonce:
        return _OTHER_NONCE(state=said.state)
    return _OTHER_STATE(known=target.state, state=said.state)


def _contradict_sequence(target: Target, said: Said) -> Report:
    """The sequence number was used for another report. That first one stands."""
    text = _OTHER_REPORT(sequence=said.sequence, state=said.state)
    metrics.REPORTS.labels(result="contradiction").inc()
    _remark(target, TargetEvent.Kind.CONTRADICTION, said, timezone.now(), text)
    return Report(refusal_code=CONTRADICTION, refusal=text)


def _remark(target: Target, kind: TargetEvent.Kind, said: Said, now: datetime, detail: str) -> None:
    targets.remark(target, kind, now=now, detail=detail, nonce=said.nonce)


def parse(body: Mapping[str, Any]) -> Said:
    """Reads a report's body. Raises InvalidReport, naming each bad field. Fields that we don't know are ignored."""
    errors: list[dict[str, str]] = []

    def refuse(field: str, detail: str) -> None:
        errors.append({"field": field, "detail": detail})

    target: UUID | None = None
    with contextlib.suppress(ValueError):
        target = UUID(body["target"]) if isinstance(body.get("target"), str) else None
    if target is None:
        refuse("target", "must be a UUID")
    nonce = body.get("nonce")
    if not isinstance(nonce, str) or not 0 < len(nonce) <= MOST_TEXT or not nonce.isprintable():
        refuse("nonce", f"must be a text of 1 to {MOST_TEXT} printable characters")
    sequence = body.get("sequence")
    if type(sequence) is not int or not 0 <= sequence <= MOST_SEQUENCE:
        refuse("sequence", "must be a whole number, not below 0")
    state = body.get("state")
    if state not in REPORTABLE:
        refuse("state", f"must be one of {', '.join(REPORTABLE)}")
    detail = body.get("detail")
    if detail is not None and not isinstance(detail, str):
        refuse("detail", "must be a text")
    steps = _steps(body.get("steps"), refuse)
    if errors:
        raise InvalidReport("; ".join(f"{each['field']} {each['detail']}" for each in errors), errors=errors)
    assert target is not None
    return Said(target, str(nonce), int(sequence or 0), str(state), _clean(detail or ""), steps)


def _steps(given: Any, refuse: Any) -> list[dict[str, Any]]:
    """`[{"name", "state", "seconds"}]`, of which only these are kept."""
    if given is None:
        return []
    if not isinstance(given, list) or len(given) > MOST_STEPS:
        refuse("steps", f"must be a list of at most {MOST_STEPS}")
        return []
    steps = []
    for index, each in enumerate(given):
        path = f"steps[{index}]"
        if not isinstance(each, dict):
            refuse(path, "must be an object")
            continue
        for name in ("name", "state"):
            value = each.get(name)
            if not isinstance(value, str) or not 0 < len(value) <= MOST_TEXT:
                refuse(f"{path}.{name}", f"must be a text of 1 to {MOST_TEXT} characters")
        seconds = each.get("seconds")
        if seconds is not None and (type(seconds) not in (int, float) or not 0 <= seconds < 1e9):
            refuse(f"{path}.seconds", "must be a number, not below 0")
        steps.append(
            {"name": _clean(str(each.get("name"))), "state": _clean(str(each.get("state"))), "seconds": seconds}
        )
    return steps


def _clean(text: str) -> str:
    """Without NUL and halves of characters, which no database takes; line breaks become spaces."""
    return "".join(each if each.isprintable() else " " for each in text)

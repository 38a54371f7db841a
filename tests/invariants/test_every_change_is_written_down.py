"""Whatever changes the registry, releases, rollouts or accounts leaves who, when, from where, what and why.

Every function that takes an actor, or writes into the audit log, is tried here, or named with the test that tries it:
a new one fails until it is.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.apps import apps
from django.contrib.auth.models import User
from django.utils import timezone

from dmr_project.lib import origin
from participants import (
    applications,
    audit,
    calendar_feeds,
    claims,
    directory,
    endpoint_terms,
    invitations,
    key_rotation,
    life,
    mail,
    outages,
    public_keys,
    registry,
    rooms,
    signed_list,
)
from participants.exchange import applying, plan, reading, writing
from participants.models import (
    ActorKind,
    Application,
    Change,
    Institution,
    Outage,
    Participant,
)
from relay import dead_letter_jobs, dead_letters, delivery_keys
from relay.dead_letters import Scope
from relay.delivery import breaker
from relay.models import Breaker, State
from staff import accounts
from tests import factories
from tests.joining.conftest import FORM
from tests.participants.test_reads_public_keys import okp_key
from tests.staff.people import person
from tests.updates.staff import Staff, public_text
from updates import releases, rollouts, staff_keys

ROOT = Path(__file__).resolve().parents[2]
APPS = ("participants", "relay", "updates", "staff", "observability")
# Where acts are asked for, told, or laid down, not done.
NOT_ACTS = {"admin", "api", "management", "migrations", "models", "join", "history.py", "failures.py"}
ADDRESS = "203.0.113.9"
WHY = "since it is so"
Act = Callable[["World"], object]


@dataclass
class World:
    """Who acts, and with what."""

    anna: User  # the actor; an administrator
    folder: Path

    @property
    def bot(self) -> Participant:
        return factories.participant().row

    def application(self, **changed: Any) -> Application:
        return applications.apply(Application(**{**FORM, **changed}, language="en"))

    def updates(self) -> Staff:
        """Whose Anna is ours."""
        found = Staff.__new__(Staff)
        found.anna, found.bert = self.anna, person("approver", name="bert")
        found.keys = {each.username: Ed25519PrivateKey.generate() for each in (found.anna, found.bert)}
        found.rows = {
            each.username: staff_keys.add(public_text(found.keys[each.username]), each, actor="tests")
            for each in (found.anna, found.bert)
        }
        return found


@dataclass(frozen=True)
class Tried:
    act: Act
    actor: str
    kind: ActorKind
    tells_why: bool


ACTS: dict[str, Tried] = {}


def act(
    name: str, *, actor: str = "anna", kind: ActorKind = ActorKind.PERSON, why: bool = False
) -> Callable[[Act], Act]:
    """`name`: module.function. The function under it prepares, and returns what does the act itself."""

    def enter(prepare: Act) -> Act:
        assert name not in ACTS
        ACTS[name] = Tried(prepare, actor, kind, why)
        return prepare

    return enter


BY_ITSELF: dict[str, Any] = {"actor": "the-bot", "kind": ActorKind.PARTICIPANT}

# -- the registry --
act("participants.registry.rows.add")(lambda _: lambda: registry.add(Institution(name="Amet"), actor="anna"))


@act("participants.registry.enrolment.register")
def register(world: World) -> object:
    row = Participant(institution=factories.institution(), name="new-bot", host="http://new.invalid/")
    return lambda: registry.register(row, actor="anna")


@act("participants.registry.enrolment.enrol")
def enrol(world: World) -> object:
    row = Participant(institution=factories.institution(), name="new-bot", host="http://new.invalid/")
    return lambda: registry.enrol(row, actor="anna")


@act("participants.registry.enrolment.enrol_all")
def enrol_all(world: World) -> object:
    row = Participant(institution=factories.institution(), name="new-bot", host="http://new.invalid/")
    return lambda: registry.enrol_all([row], actor="anna")


@act("participants.registry.changes.update_all", why=True)
def update_all(world: World) -> object:
    row = world.bot
    row.host = "http://elsewhere.invalid/"
    return lambda: registry.update_all([row], actor="anna", reason=WHY)


@act("participants.registry.changes.update", why=True)
def update(world: World) -> object:
    row = world.bot
    row.host = "http://elsewhere.invalid/"
    return lambda: registry.update(row, actor="anna", reason=WHY)


@act("participants.registry.changes.change_participant")
def change_participant(world: World) -> object:
    row = world.bot
    row.host = "http://elsewhere.invalid/"
    return lambda: registry.change_participant(row, actor="anna", key="a-key-of-their-own")


@act("participants.registry.steps.set_status", why=True)
def set_status(world: World) -> object:
    row = world.bot
    return lambda: registry.set_status([row], "Disabled", actor="anna", reason=WHY)


@act("participants.registry.steps.move", why=True)
def move(world: World) -> object:
    row = world.bot
    return lambda: registry.move([row], "Disabled", actor="anna", reason=WHY)


@act("participants.registry.steps.set_announcements", why=True)
def set_announcements(world: World) -> object:
    row = factories.participant().row
    return lambda: registry.set_announcements([row], "all", actor="anna", reason=WHY)


@act("participants.registry.steps.set_success_statuses")
def set_success_statuses(world: World) -> object:
    row = world.bot
    return lambda: registry.set_success_statuses([row], "2xx,300", actor="anna")


@act("participants.registry.own.set_own_status", **BY_ITSELF)
def set_own_status(world: World) -> object:
    row = factories.participant("the-bot").row
    return lambda: registry.set_own_status(row.pk, "Disabled")


@act("participants.registry.own.set_own_delivery_mode", **BY_ITSELF)
def set_own_delivery_mode(world: World) -> object:
    row = factories.participant("the-bot").row
    return lambda: registry.set_own_delivery_mode(row.pk, "pull")


@act("participants.registry.own.set_own_announcements", **BY_ITSELF)
def set_own_announcements(world: World) -> object:
    row = factories.participant("the-bot").row
    return lambda: registry.set_own_announcements(row.pk, "all")


@act("participants.registry.removal.remove_participant", why=True)
def remove_participant(world: World) -> object:
    row = world.bot
    return lambda: registry.remove_participant(row, actor="anna", reason=WHY)


@act("participants.registry.removal.remove_unused_participant", why=True)
def remove_unused_participant(world: World) -> object:
    row = world.bot
    return lambda: registry.remove_unused_participant(row, actor="anna", reason=WHY)


@act("participants.registry.removal.remove_institution", why=True)
def remove_institution(world: World) -> object:
    row = factories.institution()
    return lambda: registry.remove_institution(row, actor="anna", reason=WHY)


@act("participants.registry.api_keys.issue_key")
def issue_key(world: World) -> object:
    row = world.bot
    return lambda: registry.issue_key(row, actor="anna")


@act("participants.registry.api_keys.revoke_key", why=True)
def revoke_key(world: World) -> object:
    key = world.bot.keys.get()
    return lambda: registry.revoke_key(key, actor="anna", reason=WHY)


@act("participants.registry.own_entries.ensure_own_entries", actor="system", kind=ActorKind.SYSTEM)
def ensure_own_entries(world: World) -> object:
    return registry.ensure_own_entries


# -- its rooms, terms, life and outages --
@act("participants.rooms.join")
def join(world: World) -> object:
    room, row = factories.room(), world.bot
    return lambda: rooms.join(room, row, actor="anna")


@act("participants.rooms.leave")
def leave(world: World) -> object:
    bot = factories.participant()
    room = factories.room("", bot)
    return lambda: rooms.leave(room, bot.row, actor="anna")


@act("participants.rooms.change", why=True)
def change_membership(world: World) -> object:
    row = world.bot.memberships.get()
    return lambda: rooms.change(row, may_speak=False, listens=True, actor="anna", reason=WHY)


@act("participants.rooms.close", why=True)
def close(world: World) -> object:
    room = factories.room()
    return lambda: rooms.close(room, actor="anna", reason=WHY)


@act("participants.endpoint_terms.change", why=True)
def change_terms(world: World) -> object:
    row, given = world.bot, endpoint_terms.Given(allowed_networks="10.1.0.0/16")
    return lambda: endpoint_terms.change(row, given, actor="anna", reason=WHY)


@act("participants.life.let_in", why=True)
def let_in(world: World) -> object:
    row = factories.participant(status="Disabled").row
    return lambda: life.let_in([row], actor="anna", reason=WHY)


@act("participants.life.suspend", why=True)
def suspend(world: World) -> object:
    row = world.bot
    return lambda: life.suspend([row], actor="anna", reason=WHY)


@act("participants.life.lift", why=True)
def lift(world: World) -> object:
    row = world.bot
    life.suspend([row], actor="tests", reason="tests")
    return lambda: life.lift([row], actor="anna", reason=WHY)


@act("participants.life.revoke", why=True)
def revoke(world: World) -> object:
    row = world.bot
    return lambda: life.revoke([row], actor="anna", reason=WHY)


@act("participants.life.reinstate", why=True)
def reinstate(world: World) -> object:
    row = world.bot
    life.revoke([row], actor="tests", reason="tests")
    return lambda: life.reinstate(row, actor="anna", reason=WHY)


def outage() -> Outage:
    begins = timezone.now() + timedelta(hours=1)
    return Outage(
        kind=Outage.Kind.PLANNED, begins_at=begins, ends_at=begins + timedelta(hours=1), text_et="a", text_en="a"
    )


@act("participants.outages.announce")
def announce_outage(world: World) -> object:
    row = world.bot
    return lambda: outages.announce(outage(), actor="anna", participants=[row])


@act("participants.outages.end", why=True)
def end_outage(world: World) -> object:
    row = outages.announce(outage(), actor="tests", participants=[world.bot])
    return lambda: outages.end(row, actor="anna", reason=WHY)


@act("participants.calendar_feeds.make")
def make_calendar(world: World) -> object:
    return lambda: calendar_feeds.make(user=world.anna)


# -- joining --
@act("participants.key_rotation.rotate", **BY_ITSELF)
def rotate_own_key(world: World) -> object:
    bot = factories.participant("the-bot")
    credential = directory.current().credential(bot.key)
    assert credential is not None
    return lambda: key_rotation.rotate(credential, key_rotation.Wanted())


@act("participants.key_rotation.revoke_own", why=True, **BY_ITSELF)
def revoke_own_key(world: World) -> object:
    bot = factories.participant("the-bot")
    credential = directory.current().credential(bot.key)
    assert credential is not None
    return lambda: key_rotation.revoke_own(credential, bot.row.keys.get().pk, reason=WHY)


@act("participants.public_keys.publish", **BY_ITSELF)
def publish_key(world: World) -> object:
    bot = factories.participant("the-bot")
    return lambda: public_keys.publish(bot.row.pk, okp_key())


@act("participants.public_keys.revoke", why=True)
def revoke_public_key(world: World) -> object:
    row, _ = public_keys.publish(world.bot.pk, okp_key())
    return lambda: public_keys.revoke(row, actor="anna", reason=WHY)


@act("participants.public_keys.revoke_own", why=True, **BY_ITSELF)
def revoke_own_public_key(world: World) -> object:
    bot = factories.participant("the-bot").row
    row, _ = public_keys.publish(bot.pk, okp_key())
    return lambda: public_keys.revoke_own(bot, row.kid, reason=WHY)


act("participants.invitations.invite")(lambda world: lambda: invitations.invite("a@amet.test", world.anna))


@act("participants.invitations.revoke")
def revoke_invitation(world: World) -> object:
    row = invitations.invite("a@amet.test", person("registrar"))
    return lambda: invitations.revoke(row, world.anna)


@act("participants.applications.apply", actor="applicant", kind=ActorKind.UNKNOWN)
def apply(world: World) -> object:
    return world.application


@act("participants.applications.begin_review")
def begin_review(world: World) -> object:
    row = world.application()
    return lambda: applications.begin_review(row, world.anna)


@act("participants.applications.approve")
def approve_application(world: World) -> object:
    row = world.application()
    return lambda: applications.approve(row, world.anna)


@act("participants.applications.reject", why=True)
def reject(world: World) -> object:
    row = world.application()
    return lambda: applications.reject(row, world.anna, WHY)


@act("participants.applications.withdraw", actor="applicant", kind=ActorKind.UNKNOWN)
def withdraw_application(world: World) -> object:
    row = world.application()
    return lambda: applications.withdraw(row)


@act("participants.claims.offer")
def offer(world: World) -> object:
    row = factories.participant(technical_email="a@amet.test").row
    return lambda: claims.offer(row, actor="anna")


@act("participants.claims.offer_all")
def offer_all(world: World) -> object:
    row = factories.participant(technical_email="a@amet.test").row
    return lambda: claims.offer_all([row], actor="anna")


@act("participants.claims.claim", actor="claim link", kind=ActorKind.UNKNOWN)
def claim(world: World) -> object:
    row = claims.offer(factories.participant(technical_email="a@amet.test").row, actor="tests")
    return lambda: claims.claim(row)


@act("participants.exchange.writing.export")
def export(world: World) -> object:
    return lambda: writing.export(Participant.objects.all(), "csv", actor="anna")


@act("participants.exchange.applying.apply", why=True)
def import_participants(world: World) -> object:
    rows = [reading.Row(1, {"name": world.bot.name, "contact_name": "Anna"})]
    return lambda: applying.apply(rows, plan.make(rows).digest, actor="anna", reason=WHY)


# -- signing keys, the log itself --
@act("participants.signing_keys.rotate", why=True)
def rotate(world: World) -> object:
    signed_list.keys.ensure()
    return lambda: signed_list.keys.rotate(actor="anna", reason=WHY)


@act("participants.signing_keys.replace", why=True)
def replace(world: World) -> object:
    delivery_keys.ensure()
    return lambda: delivery_keys.replace(actor="anna", reason=WHY)


@act("participants.audit.archive")
def archive(world: World) -> object:
    factories.institution()
    return lambda: audit.archive(timezone.now() + timedelta(days=1), world.folder / "log.jsonl", actor="anna")


@act("participants.mail.try_again")
def try_again(world: World) -> object:
    row = mail.post("a@amet.test", "a subject", "a text")
    return lambda: mail.try_again(row, actor="anna")


# -- dead letters, breakers --
def dead_letter() -> Any:
    return factories.delivery(
        factories.participant(), factories.participant(), state=State.DEAD, ended_at=timezone.now(), attempts=10
    )


@act("relay.delivery.breaker.close")
def close_breaker(world: World) -> object:
    Breaker.objects.create(recipient=world.bot, state=Breaker.State.PARKED, failures=9)
    return lambda: breaker.close(Breaker.objects.all(), actor="anna")


@act("relay.dead_letters.requeue_message")
def requeue_message(world: World) -> object:
    row = dead_letter()
    return lambda: dead_letters.requeue_message(row.message.message_id, sender_id=None, actor="anna")


@act("relay.dead_letters.discard_message")
def discard_message(world: World) -> object:
    row = dead_letter()
    return lambda: dead_letters.discard_message(row.message.message_id, actor="anna")


@act("relay.dead_letters.requeue_chosen")
def requeue_chosen(world: World) -> object:
    row = dead_letter()
    return lambda: dead_letters.requeue_chosen([row.pk], actor="anna")


@act("relay.dead_letters.discard_chosen")
def discard_chosen(world: World) -> object:
    row = dead_letter()
    return lambda: dead_letters.discard_chosen([row.pk], actor="anna")


@act("relay.dead_letter_jobs.start")
def start_job(world: World) -> object:
    row = dead_letter()
    return lambda: dead_letter_jobs.start("requeue", Scope(None, row.recipient_name, None, None), actor="anna")


# -- releases and rollouts --
@act("updates.staff_keys.add")
def add_staff_key(world: World) -> object:
    text = public_text(Ed25519PrivateKey.generate())
    return lambda: staff_keys.add(text, world.anna, actor="anna")


@act("updates.staff_keys.withdraw", why=True)
def withdraw_staff_key(world: World) -> object:
    key = world.updates().rows["bert"]
    return lambda: staff_keys.withdraw(key, actor="anna", reason=WHY)


@act("updates.releases.import_manifest")
def import_manifest(world: World) -> object:
    return world.updates().draft


@act("updates.releases.approve", actor="bert", why=True)
def approve_release(world: World) -> object:
    staff = world.updates()
    row = staff.draft()
    return lambda: releases.approve(row, staff.bert, WHY)


@act("updates.releases.publish", why=True)
def publish(world: World) -> object:
    row = world.updates().approved()
    return lambda: releases.publish(row, world.anna, WHY)


@act("updates.releases.withdraw", why=True)
def withdraw_release(world: World) -> object:
    row = world.updates().draft()
    return lambda: releases.withdraw(row, world.anna, WHY)


@act("updates.rollouts.start")
def start_rollout(world: World) -> object:
    factories.participant()
    row = world.updates().published()
    return lambda: rollouts.start(row, rollouts.Plan(waves=(100,)), world.anna)


@act("updates.rollouts.pause", why=True)
def pause(world: World) -> object:
    row = world.updates().rollout()
    return lambda: rollouts.pause(row, actor="anna", reason=WHY)


@act("updates.rollouts.resume", why=True)
def resume(world: World) -> object:
    row = world.updates().rollout()
    rollouts.pause(row, actor="tests")
    return lambda: rollouts.resume(row, actor="anna", reason=WHY)


@act("updates.rollouts.abort", why=True)
def abort(world: World) -> object:
    row = world.updates().rollout()
    return lambda: rollouts.abort(row, actor="anna", reason=WHY)


# -- accounts --
@act("staff.accounts.add")
def add_account(world: World) -> object:
    return lambda: accounts.add(User(username="new"), ["viewer"], actor=world.anna)


@act("staff.accounts.change")
def change_account(world: World) -> object:
    user = person("viewer")
    return lambda: accounts.change(user, ["auditor"], actor=world.anna)


@act("staff.accounts.reset_password")
def reset_password(world: World) -> object:
    user = person("viewer")
    return lambda: accounts.reset_password(user, actor=world.anna)


@act("staff.accounts.own_password_changed")
def own_password_changed(world: World) -> object:
    return lambda: accounts.own_password_changed(world.anna)


@act("staff.accounts.end_sessions")
def end_sessions(world: World) -> object:
    user = person("viewer")
    return lambda: accounts.end_sessions(user, actor="anna")


@act("staff.accounts.let_in")
def let_in_again(world: World) -> object:
    user = person("viewer")
    return lambda: accounts.let_in(user, actor="anna")


# Each with why it is not tried above, or the test that tries it.
ELSEWHERE = {
    "participants.life.lift_ended": "tests/participants/test_takes_the_steps_of_life.py",
    "participants.log_ins.denied": "tests/participants/test_notes_who_comes_and_who_is_refused.py",
    "participants.log_ins.logged_in": "tests/participants/test_notes_who_comes_and_who_is_refused.py",
    "participants.log_ins.logged_out": "tests/participants/test_notes_who_comes_and_who_is_refused.py",
    "participants.registry.own_entries.national": "part of enrol, and of ensure_own_entries",
    "participants.registry.steps.set_on_each": "part of set_success_statuses and set_own_…",
    "updates.sparing.spare": "of targets alone, as updates.targets.move_all: tests/updates/test_spares_outages.py",
    "participants.signing_keys.ensure": "tests/relay/test_rotates_delivery_keys.py",
    "relay.dead_letter_jobs.advance": "tests/relay/test_requeues_many.py",
    "relay.dead_letter_jobs.stop": "tests/relay/test_requeues_many.py",
    "staff.accounts.check_may_change": "changes nothing",
    "staff.accounts.note": "what the others write with",
    "staff.second_factor.check": "tests/staff/test_asks_for_a_second_factor.py",
    "staff.second_factor.renew_recovery_codes": "tests/staff/test_asks_for_a_second_factor.py",
    "staff.second_factor.set_up": "tests/staff/test_asks_for_a_second_factor.py",
    "staff.second_factor.take_away": "tests/staff/test_asks_for_a_second_factor.py",
    "staff.sign_on.people.link": "tests/staff/test_signs_on.py",
    "staff.sign_on.people.unlink": "tests/staff/test_signs_on.py",
    "updates.rollouts.abort_all": "part of releases.withdraw",
    "updates.rollouts.finish_locked": "tests/updates/test_rollouts.py",
    "updates.rollouts.pause_locked": "part of rollouts.pause",
    "updates.rollouts.pause_unsigned": "part of staff_keys.withdraw",
    "updates.targets.move": "a target's own history: its events",
    "updates.targets.move_all": "a target's own history: its events",
    "updates.targets.remark": "a target's own history: its events",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            parts = path.relative_to(ROOT).parts
            if NOT_ACTS.isdisjoint(parts) and not path.stem.endswith("admin"):
                yield ".".join(parts).removesuffix(".py"), ast.parse(path.read_text(encoding="utf-8"))


def called(node: ast.AST) -> set[str]:
    """`history.record`, `_note`, … of all calls within."""
    return {ast.unparse(each.func) for each in ast.walk(node) if isinstance(each, ast.Call)}


WRITES = {"history.record", "history.note", "accounts.note", "note", "_note", "_change"}


def acts() -> set[str]:
    """Every public function that is told who acts, or that writes into the log (itself or by `_note`)."""
    found = set()
    for module, tree in modules():
        holders = [tree, *(each for each in tree.body if isinstance(each, ast.ClassDef))]
        for function in (each for holder in holders for each in holder.body if isinstance(each, ast.FunctionDef)):
            if function.name.startswith("_"):
                continue
            names = {each.arg for each in (*function.args.args, *function.args.kwonlyargs)}
            writes = bool(called(function) & WRITES) and "history" in ast.unparse(tree)
            names |= {each.arg or "" for each in ast.walk(function) if isinstance(each, ast.keyword)}
            if "actor" in names or writes:
                found.add(f"{module}.{function.name}")
    return found


def test_the_walk_finds_acts() -> None:
    assert len(acts()) > 50
    assert {"participants.registry.rows.add", "participants.life.suspend", "updates.rollouts.start"} <= acts()


def test_every_act_is_tried() -> None:
    known = ACTS.keys() | ELSEWHERE.keys()
    assert acts() - known == set(), "try it here, or name the test that does"
    not_found = {name for name in ELSEWHERE if name not in acts()}
    assert not_found == set(), "no longer there"
    assert ACTS.keys() & ELSEWHERE.keys() == set()
    for name, where in ELSEWHERE.items():
        assert not where.startswith("tests/") or (ROOT / where).is_file(), name


@pytest.mark.django_db
@pytest.mark.parametrize("name", sorted(ACTS))
def test_leaves_who_when_from_where_what_and_why(name: str, tmp_path: Path) -> None:
    tried = ACTS[name]
    world = World(person("administrator", "approver", "registrar", "operator", name="anna"), tmp_path)
    do: Any = tried.act(world)
    before = max(Change.objects.chained().values_list("number", flat=True), default=0)
    begun = timezone.now()
    with origin.of(ADDRESS):
        do()
    entries = list(Change.objects.chained().filter(number__gt=before))
    assert entries, "nothing was written down"
    by_actor = [each for each in entries if (each.actor, each.actor_kind) == (tried.actor, tried.kind)]
    assert by_actor, [(each.actor, each.actor_kind) for each in entries]
    for each in entries:
        assert begun <= each.at <= timezone.now()
        assert each.address == ADDRESS
        assert each.action
        assert each.kind
        assert each.subject
    assert not tried.tells_why or WHY in {each.reason for each in by_actor}
    audit.verify()


# What writes rows of the registry without the log's help, each with why.
SILENT = {
    "participants.chain": "the log itself",
    "participants.audit": "the log itself",
    "participants.announcements": "what is said, not what is",
    "participants.mail": "the outbox",
    "participants.keys": "when a key was used last",
}
LOGS = {"Change", "ChainHead", "Archive", "RegistryVersion", "Announcement", "Mail"}


def test_whatever_writes_the_registrys_rows_knows_the_log() -> None:
    models = {model.__name__ for model in apps.get_app_config("participants").get_models()} - LOGS
    assert "Participant" in models
    writing = {f"{model}.objects" for model in models}
    found = set()
    for module, tree in modules():
        if module.endswith("querysets"):
            continue
        does = any(
            each.rsplit(".", 1)[-1] in {"create", "update", "delete", "bulk_create", "get_or_create", "bulk_update"}
            and each.startswith(tuple(writing))
            for each in called(tree)
        )
        if does and "history" not in {
            alias.name for each in ast.walk(tree) if isinstance(each, ast.ImportFrom) for alias in each.names
        }:
            found.add(module)
    assert found <= SILENT.keys(), f"{found - SILENT.keys()}: write it down by participants.history"

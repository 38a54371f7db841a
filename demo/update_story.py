"""The acts about software: a release reaches everybody, a bad one is undone, and an Instance is missed."""

from __future__ import annotations

import html
import re

from demo import children, manifest, release
from demo.chat import State
from demo.command import Refused
from demo.fleet import LATE, OK, SILENT, Seen
from demo.instance import Instance
from demo.scene import Scene
from demo.watch import expect, until

FLEET_SECONDS = 30  # until all have checked in
CANARY_SECONDS = 40  # a check-in, an installation, a health check, a report
ROLLOUT_SECONDS = 60
SILENCE_SECONDS = 60
PASSPORT = ("tax-board", "I lost my passport. What must I do?", "Tell the Police and Border Guard Board at once")
TAXES = ("education", "Millal tuleb tulumaks deklareerida?", "esitada 15. veebruarist")
THEFT = ("tax-board", "My phone was stolen. Where do I report it?", "Report a theft")

Versions = dict[str, tuple[int, str]]  # of each bot: the status of its heartbeat, and what it runs


def update_everybody(scene: Scene) -> None:
    """Core publishes a release, and every Instance gets it by itself"""
    narration, core = scene.narration, scene.network.core
    with narration.step("Core sees every Instance: what it runs, and how it is"):
        before = wait_for_fleet(scene, dict.fromkeys(scene.network.bots(), ""))
        old = {name: seen.version for name, seen in before.items()}
        narration.say(told(before))
    version = publish(scene, "Answers are shorter.", "Vastused on lühemad.", tries_alone=True)
    finished = scene.network.product.counter("dmr_rollouts", state="finished")
    with narration.step("The rollout begins with one Instance, the canary, while citizens go on asking"):
        narration.say(core.start_rollout(version, common(old)) + ".")
        converse(scene, PASSPORT)
        canary = wait_for_canary(scene, version, old)
        narration.say(f"{canary.title} installed {version} and is well; the others still run what they ran.")
    with narration.step("It stays well, so the others follow, and citizens notice nothing"):
        converse(scene, TAXES)
        narration.say(told(wait_for_fleet(scene, dict.fromkeys(old, version))))
        converse(scene, THEFT)
    with narration.step("The rollout is finished, by Core's own account"):
        until(
            "a finished rollout in /metrics",
            lambda: scene.network.product.counter("dmr_rollouts", state="finished"),
            lambda seen: seen > finished,
            ROLLOUT_SECONDS,
        )
        status = core.status(version)
        core.ended()
        expect(status[:2] == [f"{version} finished", f"{len(old)} succeeded"], "all to have succeeded", status)
        narration.say(f"{status[0]}: {status[1]}.")


def undo_a_bad_release(scene: Scene) -> None:
    """The next release is broken"""
    narration, core, product = scene.narration, scene.network.core, scene.network.product
    old = {name: seen.version for name, seen in scene.network.fleet.look().items() if name in scene.network.bots()}
    version = publish(scene, "Answers are better.", "Vastused on paremad.", is_broken=True)
    paused = product.counter("dmr_rollouts", state="paused")
    ever: dict[str, set[str]] = {name: set() for name in old}

    def look() -> Versions:
        seen = versions(scene)
        for name, (_, runs) in seen.items():
            ever[name].add(runs)
        return seen

    with narration.step("The canary installs it, and its bot is not well"):
        narration.say(core.start_rollout(version, common(old)) + ".")
        seen = until(
            f"an Instance to run {version} and to be unwell",
            look,
            lambda seen: (503, version) in seen.values(),
            CANARY_SECONDS,
        )
        name = next(name for name, each in seen.items() if each == (503, version))
        canary = scene.bot(name)
        narration.say(f"{canary.title}: /healthz answers 503.")
    with narration.step("Its agent undoes it, with nobody's help"):
        until(
            f"{name} to run {old[name]} again, and to be well",
            look,
            lambda seen: seen[name] == (200, old[name]),
            CANARY_SECONDS,
        )
        narration.say(f"{canary.title} runs {old[name]} again, and is well.")
    with narration.step("The rollout pauses by itself, and the others never saw the release"):
        until(
            "a paused rollout in /metrics",
            lambda: (look(), product.counter("dmr_rollouts", state="paused"))[1],
            lambda seen: seen > paused,
            ROLLOUT_SECONDS,
        )
        status = core.status(version)
        narration.say(f"{status[0]}.")
        narration.say(f"{status[1]}.")
        expect(status[0].startswith(f"{version} paused (1 failed, 0 may; {name} rolled back"), "a pause", status)
        counts = {f"{len(old) - 1} waiting", "1 rolled_back"}
        expect(set(status[1].split(", ")) == counts, f"{' and '.join(sorted(counts))}", status)
        others = {each: runs for each, runs in ever.items() if each != name}
        expect(all(runs == {old[each]} for each, runs in others.items()), "no other Instance to change", others)
    with narration.step("Core withdraws the release, and the conversation goes on"):
        narration.say(core.withdraw(version) + ".")
        converse(scene, PASSPORT)
        narration.say(told(wait_for_fleet(scene, old)))


def lose_an_instance(scene: Scene) -> None:
    """An Instance falls silent, and Core sees it"""
    narration, network = scene.narration, scene.network
    lost = scene.bot("education")
    alerts = network.product.counter("dmr_alerts_open", kind="silence")
    with narration.step(f"{lost.title} loses its machine: the bot and its agent are stopped"):
        for child in lost.children:
            children.stop([child])
        network.lost = lost
    with narration.step("Core sees that it is late, then that it is down; the others are well"):
        for state, words in ((LATE, "late"), (SILENT, "down: silent")):
            began = narration.seconds
            until(
                f"{lost.name} to be {words}",
                network.fleet.look,
                lambda seen, state=state: seen[lost.name].state == state,  # type: ignore[misc]
                SILENCE_SECONDS,
                tell=told,
            )
            narration.say(f"{lost.name} is {words}, after {narration.seconds - began:.0f} s more.")
        present = {name: "" for name in network.bots() if name != lost.name}
        narration.say(told(wait_for_fleet(scene, present)))
    with narration.step("Staff are told: an alert, in admin and for Prometheus"):
        until(
            "one more open alert about silence in /metrics",
            lambda: network.product.counter("dmr_alerts_open", kind="silence"),
            lambda seen: seen > alerts,
            SILENCE_SECONDS,
        )
        page = "/admin/observability/alert/?open=yes&kind__exact=silence&level__exact=critical"
        approver = network.core.approver.login
        pattern = rf"{lost.name} of [^<]* is down: its agent is silent\.[^<]*"
        found = until(
            f"{lost.name} to be down in the admin's list of open alerts",
            lambda: re.search(pattern, html.unescape(approver.page(network.place.url, page))),
            lambda seen: seen is not None,
            SILENCE_SECONDS,
        )
        narration.say(f"{found[0] if found else ''}")


def publish(scene: Scene, english: str, estonian: str, *, is_broken: bool = False, tries_alone: bool = False) -> str:
    """The next release, from its manifest to its publication; its version. `tries_alone`: the author, in vain."""
    narration, core = scene.narration, scene.network.core
    installed = [release.installed(instance.folder) for instance in scene.network.bots().values()]
    version, sequence = core.next_release(installed)
    with narration.step(f"{core.author.name} writes {version}; two people sign it; it is imported"):
        draft = core.write(manifest.make(version, sequence, english, estonian, is_broken=is_broken))
        narration.say(core.import_draft(draft) + ".")
    with narration.step(f"{core.approver.name} approves it, and it is published"):
        if tries_alone:
            try:
                core.approve(version, core.author)
            except Refused as refused:
                narration.say(f"{core.author.name} tried first, in vain: {refused.reason}")
            else:
                expect(False, "the author's own approval to be refused", "it was taken")
        narration.say(core.approve(version, core.approver) + ".")
        narration.say(core.publish(version) + ".")
    return version


def converse(scene: Scene, conversation: tuple[str, str, str]) -> None:
    """A question that another institution answers, and the answer."""
    name, question, answer = conversation
    bot = scene.bot(name)
    chat = scene.wait_for(bot, scene.ask(bot, question), State.ANSWERED)
    scene.quote(chat)
    expect(answer in chat["turns"][-1]["text"], f"an answer with “{answer}”", chat["turns"][-1])


def wait_for_canary(scene: Scene, version: str, old: dict[str, str]) -> Instance:
    """The first Instance that runs the version, once Core sees that it does; the others don't."""

    def is_first(seen: dict[str, Seen]) -> bool:
        return any(seen[name] == Seen(OK, version) for name in old)

    seen = until(f"an Instance with {version}", scene.network.fleet.look, is_first, CANARY_SECONDS, tell=told)
    (name, *more) = (name for name in old if seen[name].version == version)
    others = {each: runs for each, (_, runs) in versions(scene).items() if each != name}
    expect(not more and all(old[each] == runs for each, runs in others.items()), "one canary", others)
    return scene.bot(name)


def wait_for_fleet(scene: Scene, wanted: dict[str, str]) -> dict[str, Seen]:
    """What Core sees, once each of these is well and runs its version (some version, where that is empty)."""

    def is_so(seen: dict[str, Seen]) -> bool:
        return all(
            name in seen and seen[name].state == OK and seen[name].version and version in ("", seen[name].version)
            for name, version in wanted.items()
        )

    words = ", ".join(f"{name} {version}".strip() for name, version in wanted.items())
    seen = until(f"{words} to be well", scene.network.fleet.look, is_so, FLEET_SECONDS, tell=told)
    return {name: seen[name] for name in wanted}


def versions(scene: Scene) -> Versions:
    """What the bots themselves say."""
    beats = {name: instance.heartbeat() for name, instance in scene.network.bots().items()}
    return {name: (status, str(body.get("version", ""))) for name, (status, body) in beats.items()}


def common(running: dict[str, str]) -> str:
    """The version that all of them run; empty where they differ, as after a run that was stopped in the middle."""
    return next(iter(running.values())) if len(set(running.values())) == 1 else ""


def told(seen: dict[str, Seen]) -> str:
    return ", ".join(f"{name} {each}" for name, each in seen.items()) + "."

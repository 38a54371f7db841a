"""The play: a list of acts. Each does what people would do, tells it, and raises where it comes out differently."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from demo import update_story, wire
from demo.chat import State
from demo.scene import ANSWER_SECONDS, RETRIES_SECONDS, Scene, delivery, outline
from demo.watch import expect, until

Act = Callable[[Scene], None]


def open_the_network(scene: Scene) -> None:
    """Core opens the network"""
    network, narration = scene.network, scene.narration
    with narration.step("The relay is started, and ready"):
        network.product.start()
        ready = network.product.get("/readyz").json()
        narration.say(
            f"It says of itself: {', '.join(f'{name} {state}' for name, state in ready['checks'].items())}."
        )
    with narration.step(f"Core registers {len(network.instances)} institutions and gives each a key of its own"):
        new = [network.register(instance) for instance in network.instances.values()]
        narration.say(f"{network.titles()}.")
        if not all(new):
            narration.say(f"{len(new) - sum(new)} were there from an earlier run and were taken over.")
    core = network.core
    with narration.step("Two of its staff get logins and make signing keys; Instances are given the public parts"):
        core.gather()
        for instance in network.bots().values():
            if instance.agent:
                instance.agent.configure([person.public_key.read_text().strip() for person in core.people])
        narration.say(f"{core.author.name} and {core.approver.name}. DMR knows no private key.")
    with narration.step("Their chatbots and the classifier start and say that they are well, each bot with an agent"):
        for child in network.children():
            child.start()
        versions = {instance.name: instance.wait_until_up()["version"] for instance in network.instances.values()}
        narration.say(", ".join(f"{name} {version}" for name, version in versions.items()) + ".")


def answer_alone(scene: Scene) -> None:
    """A question that the chatbot can answer by itself"""
    bot = scene.bot("tax-board")
    with scene.narration.step(f"A citizen asks {bot.title} about taxes and has the answer at once"):
        chat = scene.wait_for(bot, scene.ask(bot, "When is my income tax return due?"), State.ANSWERED)
        scene.quote(chat)
        expect(chat["messages"] == [], "no message to the network", chat["messages"])


def answer_together(scene: Scene) -> None:
    """A question for another institution"""
    narration, bot = scene.narration, scene.bot("tax-board")
    with narration.step(f"A citizen asks {bot.title} what only the police can say, and has the answer all the same"):
        chat = scene.wait_for(bot, scene.ask(bot, "I lost my passport. What must I do?"), State.ANSWERED)
        scene.quote(chat, of=slice(1, None))
        expect(chat["turns"][-1]["by"] == "police", "an answer from police", outline(chat))
    with narration.step("The relay shows how the question travelled; it never reads what is inside"):
        kinds = [(each["from"], each["to"], each["kind"]) for each in chat["messages"]]
        expected = [
            ("tax-board", "Classifier", wire.QUESTION),
            ("Classifier", "tax-board", wire.CLASSIFICATION),
            ("tax-board", "police", wire.QUESTION),
            ("police", "tax-board", wire.ANSWER),
        ]
        expect(kinds == expected, f"the messages {expected}", kinds)
        for each, status in zip(chat["messages"], scene.statuses(bot, chat), strict=True):
            expect(status["state"] == "delivered", f"message {each['messageId']} to be delivered", status)
            narration.say(f"{each['from']} → {each['to']}: {purpose(each)}, {travelled(status)}")
    with narration.step("The same in Estonian, between two others: the education bot is asked about taxes"):
        other = scene.bot("education")
        chat = scene.wait_for(other, scene.ask(other, "Millal tuleb tulumaks deklareerida?"), State.ANSWERED)
        scene.quote(chat)
        expect("esitada 15. veebruarist" in chat["turns"][-1]["text"], "the answer in Estonian", outline(chat))


def survive_an_outage(scene: Scene) -> None:
    """Something goes wrong: the police bot is down when the question comes"""
    narration, bot, police = scene.narration, scene.bot("tax-board"), scene.bot("police")
    with narration.step("The police bot is stopped"):
        police.child.ask_to_stop()
        police.child.wait(5)
    with narration.step("A citizen asks; the bot passes the question on and says so"):
        chat_id = scene.ask(bot, "My bicycle was stolen. Where do I report it?")
        chat = until(
            "the question to be passed on to police",
            lambda: bot.chat(chat_id),
            lambda seen: bool(passed_on_to("police", seen)),
            ANSWER_SECONDS,
            tell=outline,
        )
        scene.quote(chat)
        question = passed_on_to("police", chat)
    with narration.step("The relay keeps the question and tries again by itself"):
        for attempts in (1, 2):
            failed = scene.wait_for_failures(bot, question, attempts)
            pause = seconds_between(datetime.now(timezone.utc).isoformat(), failed["nextAttemptAt"])
            narration.say(
                f"Attempt {failed['attempts']}: {failed['lastError']}. "
                f"State: {failed['state']}, the next attempt in {pause:.1f} s."
            )
        state = bot.chat(chat_id)["state"]
        expect(state == State.WAITING.value, "the citizen still to wait", state)
    with narration.step("The police bot is started again"):
        police.child.start()
        police.wait_until_up()
    with narration.step("The answer reaches the citizen, and nobody had to ask twice"):
        chat = until(
            "the police's answer to reach the citizen",
            lambda: bot.chat(chat_id),
            lambda seen: seen["state"] != State.WAITING.value,
            RETRIES_SECONDS,
            tell=outline,
        )
        expect(chat["turns"][-1]["by"] == "police", "an answer from police", outline(chat))
        scene.quote(chat)
        scene.statuses(bot, chat)
        status = bot.message(question)
        attempts = delivery(status)["attempts"]
        expect(status["state"] == "delivered" and attempts > 2, "a delivery after more than 2 attempts", status)
        narration.say(f"The question was delivered at attempt {attempts}.")


def explain_a_gap(scene: Scene) -> None:
    """Nobody there to answer"""
    narration, bot = scene.narration, scene.bot("education")
    with narration.step("A citizen asks for an institution that has not joined, and is told so kindly"):
        chat = scene.wait_for(bot, scene.ask(bot, "How do I renew my driving licence?"), State.UNANSWERED)
        scene.quote(chat)
        error = chat["messages"][-1]
        expect((error["from"], error["kind"]) == (wire.DMR, wire.ERROR), "an error message from Dmr", error)
        status = bot.message(passed_on_to("transport-agency", chat))
        expect(status["state"] == "dead", "a dead letter", status)
        narration.say(f"Core sees a dead letter: {delivery(status)['lastError']}")


def add_up(scene: Scene) -> None:
    """What it came to, by the relay's own account"""
    narration, product = scene.narration, scene.network.product
    with narration.step("Every question has its answer or a kind word, every message its end"):
        chats = [(bot, bot.chat(chat_id)) for bot, chat_id in scene.asked]
        states = [chat["state"] for _, chat in chats]
        statuses = [status for bot, chat in chats for status in scene.statuses(bot, chat)]
        deliveries = [each for status in statuses for each in status["deliveries"]]
        delivered = [each for each in deliveries if each["state"] == "delivered"]
        retried = [each for each in delivered if each["attempts"] > 1]
        dead = [each for each in deliveries if each["state"] != "delivered"]
        narration.say(
            f"Questions: {len(states)} asked, {states.count('answered')} answered, "
            f"{states.count('unanswered')} told why not."
        )
        narration.say(
            f"Messages: {len(deliveries)}, of which {len(delivered)} delivered ({len(retried)} after trying again) "
            f"and {len(dead)} undeliverable, whose sender was told."
        )
        counts = (states.count("answered"), states.count("unanswered"), len(dead))
        expect(
            counts == (4, 1, 1) and retried != [], "4 answered, 1 told why not, 1 undeliverable, some retried", counts
        )
    with narration.step("The relay's counters since it started say the same"):
        errors = sum(message["from"] == wire.DMR for _, chat in chats for message in chat["messages"])
        # Both grow after the fact; other messages of earlier runs may be among them.
        accepted, settled = until(
            f"{len(statuses) - errors} messages accepted and {len(delivered)} delivered in /metrics",
            lambda: (
                product.counter("dmr_messages_accepted_total"),
                product.counter("dmr_deliveries_settled_total", state="delivered"),
            ),
            lambda seen: seen[0] >= len(statuses) - errors and seen[1] >= len(delivered),
            ANSWER_SECONDS,
        )
        failed = product.counter("dmr_delivery_attempts_total", result="failure")
        narration.say(
            f"{accepted:.0f} messages accepted from bots and {errors} written by the relay itself; "
            f"{settled:.0f} delivered, {failed:.0f} attempts failed."
        )


ACTS: list[Act] = [
    open_the_network,
    answer_alone,
    answer_together,
    survive_an_outage,
    explain_a_gap,
    add_up,
    update_story.update_everybody,
    update_story.undo_a_bad_release,
    update_story.lose_an_instance,
]


def play(scene: Scene) -> None:
    """Raises Unexpected, DemoError, Unreachable."""
    for number, act in enumerate(ACTS, start=1):
        scene.narration.act(number, act.__doc__ or act.__name__)
        act(scene)


def passed_on_to(name: str, chat: dict[str, Any]) -> str:
    """The id of the question that went on to a participant; empty where none did."""
    return next((str(each["messageId"]) for each in chat["messages"] if each["to"] == name), "")


def purpose(message: dict[str, Any]) -> str:
    texts = {
        wire.QUESTION: "a question",
        wire.CLASSIFICATION: f"it is for {message['classification']}",
        wire.ANSWER: "the answer",
    }
    return texts.get(message["kind"], str(message["kind"]))


def travelled(status: dict[str, Any]) -> str:
    found = delivery(status)
    took = seconds_between(status["acceptedAt"], found["deliveredAt"])
    tries = f"attempt {found['attempts']}" if found["attempts"] > 1 else "the first attempt"
    return f"{found['state']} at {tries} in {took:.2f} s"


def seconds_between(earlier: str, later: str) -> float:
    """Of two times in ISO 8601."""
    first, second = (datetime.fromisoformat(each.replace("Z", "+00:00")) for each in (earlier, later))
    return (second - first).total_seconds()

"""What a chatbot says and sends: questions and messages in, turns and messages out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from demo import wire
from demo.bot import AWAY, NO_ANSWER, NOBODY_KNOWS, Bot
from demo.chat import Chat, State
from demo.classifier import classifications
from demo.wire import Message

ABOUT_TAX = "When is my tax return due?"
ABOUT_PASSPORTS = "I lost my passport."


def knows(answers: dict[str, str]) -> Bot:
    return Bot("tax-board", answers.get)


def asked(bot: Bot, question: str = ABOUT_PASSPORTS) -> tuple[Chat, Message]:
    chat, (message,) = bot.ask(question)
    return chat, message


def classified(message: Message, name: str = "police") -> Message:
    return Message(
        wire.new_id(), "Classifier", "tax-board", wire.CLASSIFICATION, message.text, name, message.message_id
    )


def answered(question: Message, text: str = "Tell the police.") -> Message:
    return Message(wire.new_id(), question.recipient, "tax-board", wire.ANSWER, text, ref=question.message_id)


def failed(question: Message, status: int) -> Message:
    return Message(wire.new_id(), "Dmr", "tax-board", wire.ERROR, "no", ref=question.message_id, status=status)


def last(chat: Chat) -> tuple[str, str]:
    return chat.turns[-1].by, chat.turns[-1].text


def test_what_it_knows_it_answers_alone() -> None:
    chat, messages = knows({ABOUT_TAX: "By 30 April."}).ask(ABOUT_TAX)
    assert messages == []
    assert chat.state is State.ANSWERED
    assert last(chat) == ("tax-board", "By 30 April.")


def test_what_it_does_not_know_goes_by_classifier_and_the_other_bot() -> None:
    bot = knows({})
    chat, first = asked(bot)
    assert (first.sender, first.recipient, first.kind) == ("tax-board", "Classifier", wire.QUESTION)
    (second,) = bot.receive(classified(first))
    assert (second.recipient, second.text, second.classification) == ("police", ABOUT_PASSPORTS, "police")
    assert chat.state is State.WAITING
    assert bot.receive(answered(second)) == []
    assert chat.state is State.ANSWERED
    assert last(chat) == ("police", "Tell the police.")
    assert [each.kind for each in chat.messages.values()] == [
        wire.QUESTION,
        wire.CLASSIFICATION,
        wire.QUESTION,
        wire.ANSWER,
    ]


@pytest.mark.parametrize(("known", "text"), [({ABOUT_TAX: "By 30 April."}, "By 30 April."), ({}, NO_ANSWER)])
def test_another_bots_question_is_answered_in_any_case(known: dict[str, str], text: str) -> None:
    question = Message(wire.new_id(), "police", "tax-board", wire.QUESTION, ABOUT_TAX, "tax-board")
    (answer,) = knows(known).receive(question)
    assert (answer.recipient, answer.kind, answer.text, answer.ref) == (
        "police",
        wire.ANSWER,
        text,
        question.message_id,
    )


def test_a_message_that_was_not_handled_comes_to_the_same_again() -> None:
    bot = knows({ABOUT_TAX: "By 30 April."})
    chat, first = asked(bot)
    found = classified(first)
    passed_on = bot.receive(found)
    turns = len(chat.turns)
    assert bot.receive(found) == passed_on
    assert len(chat.turns) == turns
    question = Message(wire.new_id(), "police", "tax-board", wire.QUESTION, ABOUT_TAX)
    assert bot.receive(question) == bot.receive(question)


def test_a_repeat_of_a_handled_message_does_nothing() -> None:
    bot = knows({})
    question = Message(wire.new_id(), "police", "tax-board", wire.QUESTION, ABOUT_TAX)
    assert bot.receive(question) != []
    bot.handled(question)
    assert bot.receive(question) == []
    # Ids are each sender's own.
    assert bot.receive(replace(question, sender="education")) != []


def test_of_several_classes_the_first_counts() -> None:
    bot = knows({})
    chat, first = asked(bot)
    assert len(bot.receive(classified(first, "police"))) == 1
    assert bot.receive(classified(first, "education")) == []
    assert sum(each.kind == wire.QUESTION for each in chat.messages.values()) == 2


@pytest.mark.parametrize("name", ["", "tax-board"])
def test_a_question_for_nobody_else_ends_kindly(name: str) -> None:
    bot = knows({})
    chat, first = asked(bot)
    assert bot.receive(classified(first, name)) == []
    assert chat.state is State.UNANSWERED
    assert last(chat) == ("tax-board", NOBODY_KNOWS)


@pytest.mark.parametrize(
    ("status", "part"), [(404, "no chatbot in our network"), (403, "not allowed"), (504, "doesn't answer")]
)
def test_an_error_is_told_to_the_citizen_kindly(status: int, part: str) -> None:
    bot = knows({})
    chat, first = asked(bot)
    (second,) = bot.receive(classified(first))
    bot.receive(failed(second, status))
    assert chat.state is State.UNANSWERED
    assert part in last(chat)[1]
    assert "Police and Border Guard" in last(chat)[1]


def test_without_a_classifier_it_asks_to_come_back() -> None:
    bot = knows({})
    chat, first = asked(bot)
    bot.receive(failed(first, 404))
    assert last(chat) == ("tax-board", AWAY)


def test_a_relay_that_is_away_is_told_and_later_answers_are_let_go() -> None:
    bot = knows({})
    chat, first = asked(bot)
    bot.cannot_send(chat)
    assert (chat.state, last(chat)) == (State.UNANSWERED, ("tax-board", AWAY))
    assert chat.messages == {}
    assert bot.receive(classified(first)) == []


def test_who_was_not_asked_is_not_believed() -> None:
    bot = knows({})
    chat, first = asked(bot)
    found = classified(first)
    for forged in (replace(found, sender="police"), replace(found, ref=wire.new_id()), answered(first)):
        if forged.kind == wire.ANSWER:
            forged = replace(forged, sender="police")
        assert bot.receive(forged) == []
    (second,) = bot.receive(found)
    for forged in (
        replace(answered(second), sender="education"),
        replace(failed(second, 404), sender="education"),
        replace(classified(second), sender="Classifier"),
    ):
        assert bot.receive(forged) == []
    assert chat.state is State.WAITING


def test_what_dmr_announces_is_let_go() -> None:
    news = Message(wire.new_id(), "Dmr", "tax-board", "application/vnd.dmr.outage+json", "tonight")
    assert knows({}).receive(news) == []


@pytest.mark.parametrize(
    ("question", "classes"),
    [
        ("I lost my passport", ["police"]),
        ("MILLAL ALGAB ÕPPEAASTA?", ["education"]),
        ("Is the customs tax for a stolen passport or theft due?", ["police", "tax-board"]),
        ("What is the meaning of life?", [""]),
    ],
)
def test_the_classifier_sends_a_message_for_each_class(question: str, classes: list[str]) -> None:
    message = Message(wire.new_id(), "education", "Classifier", wire.QUESTION, question)
    found = classifications(message)
    assert [each.classification for each in found] == classes
    assert all((each.sender, each.recipient) == ("Classifier", "education") for each in found)
    assert all(each.ref == message.message_id for each in found)
    assert len({each.message_id for each in found}) == len(found)
    assert classifications(message) == found  # a repeat is known by its ids


def test_a_message_is_read_as_it_was_written() -> None:
    message = Message(
        wire.new_id(), "police", "tax-board", wire.QUESTION, "Kõik on öeldud", "tax-board", wire.new_id()
    )
    headers = {name.lower(): value for name, value in message.headers().items()}
    assert wire.read(headers, message.body()) == message


@pytest.mark.parametrize("body", [b"", b"not base64!", b"W10=", b"eyJNZXNzYWdlIjogMX0=", b"/w=="])
def test_what_is_no_message_is_refused(body: bytes) -> None:
    headers = Message(wire.new_id(), "police", "tax-board", wire.QUESTION, "").headers()
    with pytest.raises(wire.Unreadable):
        wire.read(headers, body)


@pytest.mark.parametrize("name", ["X-Sent-By", "X-Send-To", "X-Message-Id"])
def test_a_missing_header_is_named(name: str) -> None:
    message = Message(wire.new_id(), "police", "tax-board", wire.QUESTION, "?")
    headers = {key: value for key, value in message.headers().items() if key != name}
    with pytest.raises(wire.Unreadable, match=name):
        wire.read(headers, message.body())

"""Who answers for what, and what they know. Enough for a demonstration; a real bot has a language model here."""

from __future__ import annotations

from dataclasses import dataclass

TITLES = {
    "tax-board": "Tax and Customs Board",
    "police": "Police and Border Guard",
    "education": "Education Agency",
    "classifier": "State Information System",
    "transport-agency": "Transport Agency",
}


@dataclass(frozen=True)
class Fact:
    """An answer, and words of which a question for it holds at least one."""

    words: tuple[str, ...]
    answer: str


FACTS: dict[str, tuple[Fact, ...]] = {
    "tax-board": (
        Fact(
            ("income tax", "tax return"),
            "Income tax returns are filed from 15 February to 30 April, most simply in e-MTA.",
        ),
        Fact(("tulumaks",), "Tuludeklaratsiooni saab esitada 15. veebruarist 30. aprillini e-MTAs."),
    ),
    "police": (
        Fact(
            ("passport", "id card", "id-card"),
            "Tell the Police and Border Guard Board at once: it makes the lost document void. "
            "Then apply for a new one in its self-service.",
        ),
        Fact(("stolen", "theft"), "Report a theft in the police's self-service; when in danger, call 112."),
    ),
    "education": (
        Fact(("school year", "school start"), "The school year begins on 1 September."),
        Fact(("kooliaasta", "õppeaasta"), "Õppeaasta algab 1. septembril."),
    ),
}

# What the classifier recognises: more than the network can answer.
TOPICS: dict[str, tuple[str, ...]] = {
    "tax-board": ("tax", "vat", "customs", "tulumaks"),
    "police": ("passport", "id card", "id-card", "stolen", "theft"),
    "education": ("school", "exam", "university", "kooliaasta", "õppeaasta"),
    "transport-agency": ("driving licence", "register a car"),
}


def find_answer(name: str, question: str) -> str | None:
    """What the participant of that name knows; None where it doesn't."""
    text = question.casefold()
    found = (fact.answer for fact in FACTS.get(name, ()) if any(word in text for word in fact.words))
    return next(found, None)


def classify(question: str) -> list[str]:
    """The participants that answer for what is asked, the most likely first."""
    text = question.casefold()
    hits = {name: sum(word in text for word in words) for name, words in TOPICS.items()}
    return sorted((name for name, count in hits.items() if count), key=lambda name: -hits[name])


def title(name: str) -> str:
    return TITLES.get(name, name)

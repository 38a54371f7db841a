"""The two of Core's staff who release software: each with a login, and a key pair that they sign with."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from demo import login
from demo.command import Refused, agent_release, manage
from demo.environment import plain
from demo.login import Login
from demo.place import Place

ROLES = ("author", "approver")


@dataclass(frozen=True)
class Person:
    login: Login
    key: Path  # the private one; in life, on a machine of their own

    @property
    def name(self) -> str:
        return self.login.user

    @property
    def public_key(self) -> Path:
        return self.key.with_name(f"{self.key.name}.pub")


def ensure(role: str, folder: Path, place: Place) -> Person:
    """The one of an earlier run, or a new one; the server knows login and key. Raises DemoError, Refused."""
    path = folder / f"{role}.json"
    found = login.kept(path)
    if found is None or not found.works(place.url):
        found = login.keep(path, _make(role, place))
    person = Person(found, folder / f"{role}.key")
    if not (person.key.exists() and person.public_key.exists() and _register(person, place)):
        _new_key(person)
        manage(place.environment, "staff_key", "add", str(person.public_key), "--user", person.name)
    return person


def _make(role: str, place: Place) -> Login:
    password = secrets.token_urlsafe(12)
    try:
        return login.make(Login(role, password), place)
    except Refused:  # the data knows somebody of that name
        return login.make(Login(f"{role}-{secrets.token_hex(2)}", password), place)


def _new_key(person: Person) -> None:
    for path in (person.key, person.public_key):
        path.unlink(missing_ok=True)
    agent_release(plain(), "keygen", "--out", str(person.key))


def _register(person: Person, place: Place) -> bool:
    """False where the server knows the key as somebody else's, or as withdrawn."""
    try:
        manage(place.environment, "staff_key", "add", str(person.public_key), "--user", person.name)
    except Refused as refused:
        return refused.reason.endswith(f"registered for {person.name}.")
    return True

"""What our commands share: who asks, which files, and refusals in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.contrib.auth.models import User
from django.core.management.base import CommandError

from dmr_project.lib.errors import DomainError


@contextmanager
def refusals() -> Iterator[None]:
    """A DomainError becomes a CommandError: one line on standard error, exit code 1."""
    try:
        yield
    except DomainError as error:
        raise CommandError(" ".join(error.detail.split())) from None


def person(name: str) -> User:
    """Raises CommandError."""
    user = User.objects.filter(username=name).first()
    if user is None:
        raise CommandError(f"There is no user {name!r}.")
    if not user.is_active:
        raise CommandError(f"The user {name!r} is not active.")
    return user


def content(path: str) -> bytes:
    """Raises CommandError."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from None

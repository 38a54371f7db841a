"""Staff for tests: people with roles, and browsers in which they are logged in."""

from __future__ import annotations

import itertools
from functools import cache

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, User
from django.test import Client

PASSWORD = "a-long-and-quiet-river"
_numbers = itertools.count(1)


def person(*roles: str, name: str = "", password: str = PASSWORD, **fields: bool | str) -> User:
    """An account with these roles and no others."""
    name = name or f"{roles[0] if roles else 'nobody'}-{next(_numbers)}"
    user = User.objects.create(username=name, password=hashed(password), is_staff=True, **fields)
    user.groups.set(Group.objects.filter(name__in=roles))
    assert user.groups.count() == len(roles)
    return user


@cache
def hashed(password: str) -> str:
    """Once for all tests: it takes its time, as it should."""
    return make_password(password)


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client

"""Staff for tests: people with roles, and browsers in which they are logged in."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

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


def chosen(client: Client, url: str, action: str, rows: Iterable[Any], **said: str) -> Any:
    """Chooses an action on rows of a list, looks at what it would do, says yes, and comes back to the list."""
    page = client.post(url, {"action": action, "_selected_action": [getattr(row, "pk", row) for row in rows]})
    if page.status_code != 200:
        return client.get(url)
    form = page.content.decode().partition('id="bulk"')[2].partition("</form>")[0]
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))
    return client.post(url, {**hidden, **said}, follow=True)


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client

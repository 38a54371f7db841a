from typing import Any

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in
from django.db.models.signals import post_migrate


class Staff(AppConfig):
    name = "staff"
    verbose_name = "Staff"

    def ready(self) -> None:
        post_migrate.connect(give_roles, sender=self)
        user_logged_in.connect(begin_session)


def give_roles(**_: Any) -> None:
    """After a migration, and in tests after a flush, roles are what the table says."""
    from staff import roles

    roles.sync()


def begin_session(request: Any, user: Any, **_: Any) -> None:
    """Whichever way somebody logs in, their session is marked."""
    from staff import sessions

    if request is not None:
        sessions.begin(request.session, user)

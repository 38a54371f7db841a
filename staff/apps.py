from typing import Any

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class Staff(AppConfig):
    name = "staff"
    verbose_name = _("Staff")

    def ready(self) -> None:
        post_migrate.connect(give_roles, sender=self)
        user_logged_in.connect(begin_session)


def give_roles(**_also: Any) -> None:
    """After a migration, and in tests after a flush, roles are what the table says."""
    from staff import roles

    roles.sync()


def begin_session(request: Any, user: Any, **_also: Any) -> None:
    """Whichever way somebody logs in, their session is marked."""
    from staff import sessions

    if request is not None:
        sessions.begin(request.session, user)

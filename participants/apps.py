from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class Participants(AppConfig):
    name = "participants"
    verbose_name = _("Registry")

    def ready(self) -> None:
        from participants import log_ins  # noqa: F401 -- listens to who logs in
        from participants.api import schema  # noqa: F401 -- registers itself with drf-spectacular

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class Relay(AppConfig):
    name = "relay"
    verbose_name = _("Relay")

    def ready(self) -> None:
        from relay import dependants  # noqa: F401 -- says what waits for a participant

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class Updates(AppConfig):
    name = "updates"
    verbose_name = _("Updates")

    def ready(self) -> None:
        from updates import dependants  # noqa: F401 -- says which rollout a participant is in

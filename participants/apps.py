from django.apps import AppConfig


class Participants(AppConfig):
    name = "participants"
    verbose_name = "Registry"

    def ready(self) -> None:
        from participants import log_ins  # noqa: F401 -- listens to who logs in
        from participants.api import schema  # noqa: F401 -- registers itself with drf-spectacular

from django.apps import AppConfig


class Updates(AppConfig):
    name = "updates"
    verbose_name = "Updates"

    def ready(self) -> None:
        from updates import dependants  # noqa: F401 -- says which rollout a participant is in

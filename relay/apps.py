from django.apps import AppConfig


class Relay(AppConfig):
    name = "relay"
    verbose_name = "Relay"

    def ready(self) -> None:
        from relay import dependants  # noqa: F401 -- says what waits for a participant

from django.apps import AppConfig


class Relay(AppConfig):
    name = "relay"
    verbose_name = "Relay"

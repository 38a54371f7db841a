from django.apps import AppConfig


class Participants(AppConfig):
    name = "participants"
    verbose_name = "Registry"

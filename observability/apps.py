from django.apps import AppConfig


class Observability(AppConfig):
    name = "observability"
    verbose_name = "Observability"

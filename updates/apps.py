from django.apps import AppConfig


class Updates(AppConfig):
    name = "updates"
    verbose_name = "Updates"

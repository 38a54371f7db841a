from django.apps import AppConfig


class Wiring(AppConfig):
    name = "dmr_project"
    label = "wiring"
    verbose_name = "DMR"

    def ready(self) -> None:
        # Registers the system checks, and with the Celery application every task under its broker.
        from dmr_project import celery, checks  # noqa: F401
        from dmr_project.wording import load_sentences, mark_all

        mark_all()
        load_sentences()

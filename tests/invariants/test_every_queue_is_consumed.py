"""A task that nobody takes from its queue is a task that never runs."""

from __future__ import annotations

from dmr_project import server
from dmr_project.celery import app
from dmr_project.lib import queues

APPS = ("dmr_project.", "participants.", "relay.", "updates.", "staff.", "observability.")


def our_tasks() -> dict[str, object]:
    app.loader.import_default_modules()
    return {name: task for name, task in app.tasks.items() if task.__module__.startswith(APPS)}


def test_every_task_names_a_known_queue() -> None:
    tasks = our_tasks()
    assert {"relay.pump", "relay.sweep"} <= set(tasks)
    for name, task in tasks.items():
        assert getattr(task, "queue", None) in queues.ALL, name


def test_every_task_has_a_time_limit() -> None:
    for name, task in our_tasks().items():
        assert task.time_limit or task.soft_time_limit, name  # type: ignore[attr-defined]


def test_the_worker_consumes_every_queue() -> None:
    (worker,) = (child for child in server.children("127.0.0.1", 1) if child.name == "worker")
    command = list(worker.command)
    assert set(command[command.index("--queues") + 1].split(",")) == set(queues.ALL)
    assert {queue.name for queue in app.conf.task_queues} == set(queues.ALL)


def test_beat_sends_known_tasks_to_known_queues() -> None:
    tasks = our_tasks()
    for name, entry in app.conf.beat_schedule.items():
        assert entry["task"] in tasks, name
        assert entry["options"]["queue"] in queues.ALL, name
        assert entry["options"]["expires"] >= entry["schedule"].seconds, f"{name} expires before it comes again"


def test_processes_are_named_as_promised() -> None:
    commands = {child.name: " ".join(child.command) for child in server.children("127.0.0.1", 1)}
    assert "celery" in commands["worker"]
    assert " worker " in commands["worker"]
    assert "celery" in commands["beat"]
    assert " beat " in commands["beat"]
    assert "granian" in commands["web"]

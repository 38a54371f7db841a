"""Addresses of observability, under `/api/v1/`."""

from django.urls import path

from observability.api import agent, targets

urlpatterns = [
    path("agent/check-in", agent.CheckIn.as_view()),
    path("observability/targets", targets.Targets.as_view()),
]

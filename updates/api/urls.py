"""Addresses of updates, under `/api/v1/`."""

from django.urls import path

from updates.api import agent

urlpatterns = [
    path("agent/report", agent.AgentReport.as_view()),
]

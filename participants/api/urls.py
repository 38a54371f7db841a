"""Addresses of the registry under `/api/v1/`."""

from django.urls import path

from participants.api import my

urlpatterns = [
    path("my/announcements", my.Announcements.as_view()),
    path("my/delivery-mode", my.DeliveryMode.as_view()),
]

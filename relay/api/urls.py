"""Addresses of the relay."""

from django.urls import path

from relay.api import messages

urlpatterns = [
    path("messages", messages.Messages.as_view()),
    path("messages/<str:message_id>", messages.OneMessage.as_view()),
]

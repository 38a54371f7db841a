"""Addresses of the relay."""

from django.urls import path

from relay.api import batch, dead_letters, inbox, messages, well_known

urlpatterns = [
    path("messages", messages.Messages.as_view()),
    path(".well-known/jwks.json", well_known.JsonWebKeys.as_view()),
    path(".well-known/dmr-delivery-keys", well_known.WebhookKeys.as_view()),
    path("unclassified", messages.Unclassified.as_view()),
    path("classified", messages.Classified.as_view()),
    path("conversations/<str:participant>/<str:conversation>", messages.Conversation.as_view()),
    path("api/v1/messages/batch", batch.Batch.as_view()),
    path("api/v1/rooms/<str:room>/messages", messages.RoomMessages.as_view()),
    path("api/v1/dead-letters", dead_letters.DeadLetters.as_view()),
    path("api/v1/dead-letters/requeue", dead_letters.Requeue.as_view()),
    path("api/v1/dead-letters/requeues/<uuid:job>", dead_letters.RequeueJob.as_view()),
    path("api/v1/dead-letters/discard", dead_letters.Discard.as_view()),
    path("api/v1/dead-letters/discards/<uuid:job>", dead_letters.DiscardJob.as_view()),
    path("api/v1/inbox", inbox.Inbox.as_view()),
    path("api/v1/inbox/ack", inbox.Acknowledge.as_view()),
    path("api/v1/inbox/nack", inbox.HandBack.as_view()),
    path("messages/<str:message_id>", messages.OneMessage.as_view()),
]

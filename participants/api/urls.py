"""Addresses of the registry under `/api/v1/`."""

from django.urls import path

from participants.api import keys, listing, my, outages, public_keys, reach

urlpatterns = [
    path("keys", keys.Keys.as_view()),
    path("keys/revoke", keys.Revoke.as_view()),
    path("public-keys", public_keys.PublicKeys.as_view()),
    path("public-keys/revoke", public_keys.Revoke.as_view()),
    path("outages", outages.Outages.as_view()),
    path("outages.ics", outages.Calendar.as_view()),
    path("outages/calendar", outages.CalendarAddress.as_view()),
    path("outages/calendar/<str:token>.ics", outages.by_address, name="outages-feed"),
    path("outages/<uuid:outage>", outages.OneOutage.as_view()),
    path("outages/<uuid:outage>/end", outages.EndOutage.as_view()),
    path("participants/list", listing.SignedParticipantList.as_view()),
    path("participants/changes", listing.ParticipantChanges.as_view()),
    path("my/announcements", my.Announcements.as_view()),
    path("my/delivery-mode", my.DeliveryMode.as_view()),
    path("my/reach", reach.MyReach.as_view()),
]

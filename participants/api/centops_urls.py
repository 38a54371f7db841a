"""Addresses under `/centops/`."""

from django.urls import path, register_converter
from django.urls.converters import UUIDConverter

from participants.api import centops, clients


class AnyCaseUUID(UUIDConverter):
    regex = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"


register_converter(AnyCaseUUID, "id")

urlpatterns = [
    path("public/participants", centops.PublicParticipants.as_view()),
    path("public/participants/my/state", centops.MyState.as_view()),
    path("public/participants/<id:public_id>", centops.PublicParticipant.as_view()),
    path("public/institutions", centops.PublicInstitutions.as_view()),
    path("public/institutions/<id:public_id>", centops.PublicInstitution.as_view()),
    path("public/institutions/<id:public_id>/participants", centops.PublicInstitutionParticipants.as_view()),
    path("clients", clients.Clients.as_view()),
    path("integration/clients", clients.IntegrationClients.as_view()),
    path("admin/institutions", centops.AdminInstitutions.as_view()),
    path("admin/institutions/<id:public_id>", centops.AdminInstitution.as_view(), name="centops-admin-institution"),
    path("admin/participants", centops.AdminParticipants.as_view()),
    path("admin/participants/<id:public_id>", centops.AdminParticipant.as_view(), name="centops-admin-participant"),
]

"""Every address of the product."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from dmr_project import health
from participants.api.listing import RegistryKeys

handler400 = "dmr_project.lib.api.bad_request"
handler403 = "dmr_project.denials.permission_denied"
handler404 = "dmr_project.lib.api.not_found"
handler500 = "dmr_project.lib.api.server_error"

urlpatterns = [
    path("", include("relay.api.urls")),  # the hot path first: each pattern before it would be tried for each message
    path("admin/", admin.site.urls),
    path("livez", health.live),
    path("readyz", health.ready),
    path("healthz", health.network_shape),
    path("metrics", health.metrics),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("api/v1/", include("participants.api.urls")),
    path("api/v1/", include("updates.api.urls")),
    path("api/v1/", include("observability.api.urls")),
    path("centops/", include("participants.api.centops_urls")),
    path("join/", include("participants.join.urls")),
    path(".well-known/dmr-registry-keys", RegistryKeys.as_view()),
]

"""Django's plain WSGI application, for tools that ask for one. The product is served by dmr_project.rsgi."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dmr_project.settings")

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

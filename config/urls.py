"""The portal's addresses."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("", include("portal.web.urls"))]

handler400 = "portal.web.views.errors.bad_request"
handler403 = "portal.web.views.errors.forbidden"
handler404 = "portal.web.views.errors.not_found"
handler500 = "portal.web.views.errors.broken"

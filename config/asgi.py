"""The portal as an ASGI application: `uvicorn config.asgi:application`."""

from __future__ import annotations

import os
from typing import cast

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.run")
django_application = get_asgi_application()

from portal.web.assets import Application, StaticFiles  # noqa: E402 - the apps must be loaded first

application = StaticFiles(cast(Application, django_application))

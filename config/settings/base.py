"""Settings common to every way the portal runs."""

SECRET_KEY = ""
INSTALLED_APPS: list[str] = []
USE_TZ = True

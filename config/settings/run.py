"""Settings of the running control plane; importing them fails when a secret or a port is missing."""

from __future__ import annotations

from config import env
from config.settings.base import *  # noqa: F403
from config.settings.base import DATABASES

_control = env.control()

SECRET_KEY = env.secret("django_secret_key")
DATABASES["default"] |= {
    "HOST": _control.postgres_host,
    "PORT": _control.postgres_port,
    "PASSWORD": env.secret("postgres_password"),
    "CONN_HEALTH_CHECKS": True,
}
VALKEY_URL = f"redis://:{env.secret('valkey_password')}@{_control.valkey_host}:{_control.valkey_port}/0"

CSRF_TRUSTED_ORIGINS = [_control.portal_url.rstrip("/")]
_https = _control.portal_url.startswith("https://")
SESSION_COOKIE_SECURE = _https
CSRF_COOKIE_SECURE = _https
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _https else None

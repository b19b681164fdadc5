"""Settings for a portal web process of a test: as the worker's, but with the portal's pages."""

from tests.support.portal_worker import *  # noqa: F403

ROOT_URLCONF = "config.urls"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

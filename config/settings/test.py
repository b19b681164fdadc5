"""Settings of the test suite; tests/conftest.py fills in the addresses of the servers it starts."""

from config.settings.base import *  # noqa: F403

SECRET_KEY = "only-for-tests"  # noqa: S105 - never leaves the test process
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

"""Settings of the test suite."""

from config.settings.base import *  # noqa: F403

SECRET_KEY = "only-for-tests"  # noqa: S105 - never leaves the test process

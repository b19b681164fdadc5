"""Settings for a Celery worker process of a test: the test's own database, broker and state folder, quick timers."""

import os

from config.settings.base import *  # noqa: F403
from config.settings.base import DATABASES, INSTALLED_APPS

ROOT_URLCONF = "tests.support.portal_kinds"  # a worker serves no page
SECRET_KEY = "only-for-tests"
DATABASES["default"].update(
    HOST="127.0.0.1",
    PORT=os.environ["TEST_PG_PORT"],
    NAME=os.environ["TEST_PG_NAME"],
    USER=os.environ["TEST_PG_USER"],
    PASSWORD=os.environ["TEST_PG_PASSWORD"],
)
VALKEY_URL = os.environ["TEST_VALKEY_URL"]
INSTALLED_APPS += ["tests.support.portal_kinds"]
OPERATION_HEARTBEAT_SECONDS = 0.2
OPERATION_STALE_SECONDS = 1.5
OPERATION_UNCLAIMED_SECONDS = 1.0

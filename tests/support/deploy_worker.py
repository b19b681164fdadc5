"""Settings of a worker process whose stacks run in containers."""

from tests.support.portal_worker import *  # noqa: F403

RUNTIME = "compose"

"""Settings for a portal web process that shows further stacks."""

from tests.support.portal_web_settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tests.support.portal_projects"]  # noqa: F405

"""Settings for the type checker and `makemigrations --check`: no server, no secret."""

from config.settings.base import *  # noqa: F403

SECRET_KEY = "only-for-type-checks"  # noqa: S105 - nothing is signed with it

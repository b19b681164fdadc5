"""Settings common to every way the portal runs; nothing here needs a server or a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from config import env

CHECKOUT: Path = env.CHECKOUT
VAR_DIR: Path = env.var_dir()
RUNTIME = env.runtime()
PORTAL_PROJECT = env.portal_project()
PROJECT_ROOTS = env.project_roots()
AGENT_IMAGE = env.agent_image()
AGENTS_ELSEWHERE = env.agents_elsewhere()

SECRET_KEY = ""
DEBUG = False
ALLOWED_HOSTS: list[str] = ["*"]  # nginx decides which names reach the portal; CSRF checks the origin
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS: list[str] = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "portal.core",
    "portal.accounts",
    "portal.operations",
    "portal.stacks",
    "portal.vaults",
    "portal.watch",
    "portal.doctor",
    "portal.cleanup",
    "portal.alarms",
    "portal.terminal",
    "portal.web",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "portal.web.security.PageSecurity",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

DATABASES: dict[str, dict[str, Any]] = {
    "default": {"ENGINE": "django.db.backends.postgresql", "NAME": "portal", "USER": "portal", "HOST": "127.0.0.1"}
}
VALKEY_URL = ""  # broker and event channel; each settings module that has a server names it

PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/sign-in/"
LOGIN_REDIRECT_URL = "/"

SESSION_COOKIE_NAME = "ragkeep_portal"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "portal.web.views.errors.csrf_failure"
CSRF_COOKIE_NAME = "ragkeep_portal_csrf"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

LANGUAGE_CODE = "en"
USE_TZ = True
TIME_ZONE = "UTC"
LOCAL_TIME_ZONE = env.local_time_zone()  # what a person of this machine means by 02:30

STATIC_URL = "/static/"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "portal.web.assets.HashedStorage"},
}

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    # Two lines for every tick would hide what matters.
    "loggers": {"celery.app.trace": {"level": "WARNING"}, "celery.worker.strategy": {"level": "WARNING"}},
    "root": {"handlers": ["stderr"], "level": env.log_level()},
}

# How often a worker says that it lives, and after how long a silence another one takes over.
OPERATION_HEARTBEAT_SECONDS = 3.0
OPERATION_STALE_SECONDS = 15.0
OPERATION_UNCLAIMED_SECONDS = 30.0

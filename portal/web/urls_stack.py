"""Addresses of a stack's pages: without a name those of the product's own, with one those of a further stack."""

from __future__ import annotations

from collections.abc import Callable

from django.http.response import HttpResponseBase
from django.urls import URLPattern, path

from portal.web.views import logs, project, releases, settings, stack, stacks, updates, watch


def of_stacks(route: str, view: Callable[..., HttpResponseBase], name: str, *, own: str = "stack/") -> list[URLPattern]:
    """The same page of the product's own stack, below `own`, and of a further one."""
    return [path(f"{own}{route}", view, name=name), path(f"stacks/<slug:stack_name>/{route}", view, name=name)]


# Before all that begins with the name of a stack; no stack can be called so.
STACKS = [
    path("stacks/", stacks.stacks, name="stacks"),
    path("stacks/add/", stacks.stack_add, name="stack-add"),
    path("stacks/adopt/", stacks.stack_adopt, name="stack-adopt"),
    path("stacks/<slug:stack_name>/project/", project.project, name="project"),
    path("stacks/<slug:stack_name>/project/update/", project.update, name="project-update"),
    path("stacks/<slug:stack_name>/project/allow/", project.allow, name="project-allow"),
    path("stacks/<slug:stack_name>/project/hook/", project.hook, name="project-hook"),
    path("stacks/<slug:stack_name>/project/token/", project.token, name="project-token"),
    path("stacks/<slug:stack_name>/project/remove/", project.remove, name="project-remove"),
]

PAGES = [
    *of_stacks("", stack.stack, "stack"),
    *of_stacks("deploy/", releases.deploy, "deploy"),
    *of_stacks("deploy/look/", releases.deploy_look, "deploy-look"),
    *of_stacks("deploy/begin/", releases.deploy_begin, "deploy-begin"),
    *of_stacks("releases/", releases.releases, "releases", own=""),
    *of_stacks("releases/compare/", releases.release_compare, "release-compare", own=""),
    *of_stacks("releases/<int:number>/", releases.release_one, "release", own=""),
    *of_stacks("releases/<int:number>/roll-back/", releases.roll_back, "roll-back", own=""),
    *of_stacks("act/", stack.stack_act, "stack-act"),
    *of_stacks("updates/look/", updates.updates_look, "updates-look"),
    *of_stacks("updates/daily/", updates.updates_daily, "updates-daily"),
    *of_stacks("use/", watch.use, "use"),
    *of_stacks("events/", watch.stack_events, "stack-events"),
    *of_stacks("settings/", settings.settings, "settings"),
    *of_stacks("settings/forget/", settings.settings_drop, "settings-forget"),
    *of_stacks("settings/rotate/", settings.secret_rotate, "secret-rotate"),
    *of_stacks("logs/", logs.logs, "logs"),
    *of_stacks("log-download/", logs.log_download, "logs-download"),
    *of_stacks("logs/<slug:service>/", logs.service_log, "service-log"),
    *of_stacks("logs/<slug:service>/download/", logs.log_download, "service-log-download"),
]

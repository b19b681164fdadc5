"""Addresses of the portal's pages."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.urls import path

from portal.web.views import (
    account,
    alarms,
    browse,
    dashboard,
    events,
    health,
    help,
    operations,
    recovery,
    restore,
    sets,
    stack,
)

urlpatterns = [
    path("", dashboard.dashboard, name="dashboard"),
    path("health", login_not_required(health.health), name="health"),
    path("sign-in/", login_not_required(account.SignIn.as_view()), name="sign-in"),
    path("sign-out/", account.SignOut.as_view(), name="sign-out"),
    path("password/", account.Password.as_view(), name="password"),
    path("stack/", stack.stack, name="stack"),
    path("stack/act/", stack.stack_act, name="stack-act"),
    path("stack/logs/<slug:service>/", stack.service_log, name="service-log"),
    path("stack/logs/<slug:service>/download/", stack.service_log_download, name="service-log-download"),
    path("sets/", sets.sets, name="sets"),
    path("sets/back-up/", sets.backup_now, name="backup-now"),
    path("sets/drill/", sets.drill_now, name="drill-now"),
    path("sets/<slug:set_id>/", sets.set_one, name="set"),
    path("sets/<slug:set_id>/browse/", browse.set_browse, name="set-browse"),
    path("sets/<slug:set_id>/browse/read/", browse.set_index, name="set-index"),
    path("sets/<slug:set_id>/fetch/", browse.set_fetch, name="set-fetch"),
    path("sets/<slug:set_id>/label/", sets.set_label, name="set-label"),
    path("sets/<slug:set_id>/pin/", sets.set_pinned, name="set-pin"),
    path("sets/<slug:set_id>/verify/", sets.verify_now, name="set-verify"),
    path("sets/<slug:set_id>/delete/", sets.set_remove, name="set-delete"),
    path("sets/<slug:set_id>/restore/", restore.set_restore, name="set-restore"),
    path("sets/<slug:set_id>/restore/preview/", restore.set_preview, name="set-preview"),
    path("restores/<int:restore_id>/undo/", restore.restore_undo, name="restore-undo"),
    path("restores/<int:restore_id>/keep/", restore.restore_keep, name="restore-keep"),
    path("alarms/", alarms.alarms, name="alarms"),
    path("alarms/channels/add/", alarms.channel_new, name="channel-add"),
    path("alarms/channels/<slug:channel>/test/", alarms.channel_try, name="channel-test"),
    path("alarms/channels/<slug:channel>/switch/", alarms.channel_turn, name="channel-switch"),
    path("alarms/channels/<slug:channel>/remove/", alarms.channel_delete, name="channel-remove"),
    path("operations/", operations.operations, name="operations"),
    path("operations/<uuid:operation_id>/", operations.operation, name="operation"),
    path("operations/<uuid:operation_id>/cancel/", operations.operation_stop, name="operation-cancel"),
    path("operations/<uuid:operation_id>/log/", operations.operation_log_download, name="operation-log"),
    path("recovery/", recovery.recovery, name="recovery"),
    path("recovery/take-over/", recovery.take_over, name="take-over"),
    path("recovery/<slug:repository>/card/", recovery.card, name="recovery-card"),
    path("recovery/<slug:repository>/key/", recovery.key_proof, name="key-proof"),
    path("events/", events.events, name="events"),
    path("help/", help.help_page, name="help"),
]

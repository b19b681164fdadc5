"""What can go wrong with a restore.

RestoreError
├── SetUnknown       no such set in the repository
├── SetIncomplete    the set is partial, and nobody said that a partial one will do
├── ScopeRefused     the chosen sources cannot be restored by themselves, or there
├── SetTooNew        it was made by a newer Postgres, Chroma or Ragkeep than the target has
├── SetDamaged       what came out of the repository is not what set.json describes
├── NothingStaged    a swap without a stage that ended well
├── SwapConflict     folders or databases are not where the journal of the swap says
├── NotCarried       what was added or deleted since the set cannot be carried over
├── DocumentUnknown  the set has no document of that name
├── CanaryUnreached  the restored service does not answer the canary's questions
└── CanaryFailed     the restored service finds other chunks than the set's canary
"""

# ruff: noqa: N818 - as in backups.errors, the names say what is wrong

from __future__ import annotations

from backups.errors import RestoreError


class SetUnknown(RestoreError):
    code = "set_unknown"
    default_remedy = "List the sets of the repository and choose one of them."


class SetIncomplete(RestoreError):
    code = "set_incomplete"
    default_remedy = "Choose a complete set, or allow a partial one knowingly."


class ScopeRefused(RestoreError):
    code = "scope_refused"
    default_remedy = "Restore the whole set, or other sources of it."


class NotCarried(RestoreError):
    code = "not_carried"
    default_remedy = "Restore exactly instead: what was added since stays in the safety set and in the kept data."


class DocumentUnknown(RestoreError):
    code = "document_unknown"
    default_remedy = "Browse the set for the name, or choose a set that was taken while the document was there."


class SetTooNew(RestoreError):
    code = "set_too_new"
    default_remedy = "Update Ragkeep and the stack to the versions of the set, or newer, then start again."


class SetDamaged(RestoreError):
    code = "set_damaged"
    default_remedy = "Nothing that runs was changed. Choose another set, and check the repository."


class NothingStaged(RestoreError):
    code = "nothing_staged"
    default_remedy = "Stage the set again, then swap."


class SwapConflict(RestoreError):
    code = "swap_conflict"
    default_remedy = "Nothing was removed: look at live, staging-* and kept-* in the volumes before the next attempt."


class CanaryUnreached(RestoreError):
    code = "canary_unreached"
    default_remedy = "Look at the log of the stack's api service, then ask again or undo the restore."


class CanaryFailed(RestoreError):
    code = "canary_failed"
    default_remedy = "Undo the restore: the data from before is still kept."

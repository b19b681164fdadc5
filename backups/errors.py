"""What can go wrong with backups and restores.

BackupError
├── JobInvalid                 the job could not be read; the message names the path of the offending value
├── FencedOff                  a newer attempt owns the operation (exit status 4)
├── OperationBusy              another agent of the same operation is still alive
├── ToolError
│   ├── ToolMissing            restic, pg_dump or chroma is not there
│   └── ToolTooOld             ... or has the wrong version
├── RepositoryError
│   ├── AddressInvalid         the address is none that a repository can have
│   ├── CredentialsInvalid     the credentials file cannot be read, or lacks something
│   ├── RepositoryRefused      the server does not accept the credentials, or not for this
│   ├── HostKeyUnknown         nobody has said yet which key the SFTP server has
│   ├── HostKeyChanged         ... and now it shows another one than the known
│   ├── BucketMissing          the object store has no such bucket
│   ├── ClockWrong             this machine's clock and the server's are too far apart
│   ├── RepositoryUnreachable  the folder or server of the repository is gone
│   ├── RepositoryMissing      the place is there, but no repository in it
│   ├── RepositoryOther        another repository than the known one lies there
│   ├── RepositoryExists       `init` was asked for where a repository is, or was, known
│   ├── RepositoryLocked       somebody else works in it
│   ├── RepositoryKeyWrong     the password does not open it
│   ├── RepositoryFull         no space is left in it
│   └── ResticFailed           any other failure of restic
├── SourceError
│   ├── SourceMissing          a source is not there, or its server does not answer
│   ├── SourceNotMounted       a folder is there, what should be mounted on it is not
│   ├── SourceEmpty            a source is there but holds nothing although it must
│   └── SourceUnreadable       a source is there and cannot be read in full
├── SpaceShort                 a disk is too small for what is about to be written
├── FreezeError
│   ├── GateBusy               the writers did not let go in time
│   └── FreezeBroken           the freeze ended, or something moved, before everything was taken
├── StagingInvalid             what was staged does not prove to be whole
├── ManifestInvalid            set.json could not be read
└── RestoreError               base of everything in backups.restore

An error carries a stable `code` for programs, a sentence and a remedy for people, and `data` for both.
"""

# ruff: noqa: N818 - the names say what is wrong; the tree above says that they are errors
from __future__ import annotations

from typing import Any, ClassVar


class BackupError(Exception):
    """Base of all errors of this package.

    Attributes:
        code: stable, for programs.
        message: one sentence: what happened, where.
        remedy: one sentence: what to do about it; may be empty.
        data: JSON-serialisable details.
    """

    code: ClassVar[str] = "backup_failed"
    default_remedy: ClassVar[str] = ""

    def __init__(self, message: str, remedy: str | None = None, **data: object) -> None:
        self.message = message
        self.remedy = self.default_remedy if remedy is None else remedy
        self.data: dict[str, object] = data
        super().__init__(message)

    def to_json(self) -> dict[str, Any]:
        """The error as the agent's last line, without its `type`."""
        found: dict[str, Any] = {"code": self.code, "message": self.message, "remedy": self.remedy}
        if self.data:
            found["data"] = self.data
        return found


class JobInvalid(BackupError):
    code = "job_invalid"
    default_remedy = "Correct the named value of the job and start it again."


class FencedOff(BackupError):
    code = "fenced_off"
    default_remedy = "Nothing to do: a newer attempt carries the operation on."


class OperationBusy(BackupError):
    code = "operation_busy"
    default_remedy = "Wait until the earlier agent of this operation has ended."


class ToolError(BackupError):
    code = "tool_failed"


class ToolMissing(ToolError):
    code = "tool_missing"


class ToolTooOld(ToolError):
    code = "tool_too_old"


class RepositoryError(BackupError):
    code = "repository_failed"


class RepositoryUnreachable(RepositoryError):
    code = "repository_unreachable"
    default_remedy = "Mount the disk or reach the server that holds the repository, then start again."


class AddressInvalid(RepositoryError):
    code = "address_invalid"
    default_remedy = "Correct the address; docs/how-to/repositories.md has an example of each kind."


class CredentialsInvalid(RepositoryError):
    code = "credentials_invalid"
    default_remedy = "Correct the credentials file: one NAME=VALUE on a line."


class RepositoryRefused(RepositoryError):
    code = "repository_refused"
    default_remedy = "Check the credentials, and what the server allows them to do."


class HostKeyUnknown(RepositoryError):
    code = "host_key_unknown"
    default_remedy = "Compare the fingerprint with the one the server's administrator names, then confirm it."


class HostKeyChanged(RepositoryError):
    code = "host_key_changed"
    default_remedy = (
        "Ask the server's administrator whether it has a new key. If nobody knows of one, somebody else answers in its "
        "place: send nothing there. Otherwise confirm the new fingerprint."
    )


class BucketMissing(RepositoryError):
    code = "bucket_missing"
    default_remedy = "Correct the name, or have the bucket made."


class ClockWrong(RepositoryError):
    code = "clock_wrong"
    default_remedy = "Set this machine's clock, best by NTP: object stores refuse requests from another time."


class RepositoryMissing(RepositoryError):
    code = "repository_missing"
    default_remedy = "Check the address; if the repository is meant to be new, initialise it first."


class RepositoryOther(RepositoryError):
    code = "repository_other"
    default_remedy = "Put the known repository back, or add the other one under a name of its own."


class RepositoryExists(RepositoryError):
    code = "repository_exists"
    default_remedy = "Use the repository that is there, or choose another place for a new one."


class RepositoryLocked(RepositoryError):
    code = "repository_locked"
    default_remedy = "Wait until the other program has finished with the repository, then start again."


class RepositoryKeyWrong(RepositoryError):
    code = "repository_key_wrong"
    default_remedy = "Put the password that the repository was made with into its password file."


class RepositoryFull(RepositoryError):
    code = "repository_full"
    default_remedy = "Free space where the repository lies; the sets that are in it stay readable."


class ResticFailed(RepositoryError):
    code = "restic_failed"


class SourceError(BackupError):
    code = "source_failed"


class SourceMissing(SourceError):
    code = "source_missing"
    default_remedy = "Start the service, or mount the volume, that holds this source; then start again."


class SourceNotMounted(SourceError):
    code = "source_not_mounted"
    default_remedy = "Mount the disk or share, then start again: an empty mount point is never backed up in its place."


class SourceEmpty(SourceError):
    code = "source_empty"
    default_remedy = "Check that the right volume is mounted: an empty source is never backed up as if it were whole."


class SourceUnreadable(SourceError):
    code = "source_unreadable"


class SpaceShort(BackupError):
    code = "space_short"
    default_remedy = "Free space on that disk, or move the folder to a larger one, then start again."


class FreezeError(BackupError):
    code = "freeze_failed"
    default_remedy = "Start the backup again; nothing was stored."


class GateBusy(FreezeError):
    code = "gate_busy"
    default_remedy = "Start the backup again when fewer documents are being taken in; nothing was stored."


class FreezeBroken(FreezeError):
    code = "freeze_broken"


class StagingInvalid(BackupError):
    code = "staging_invalid"
    default_remedy = "Start the backup again; nothing was stored. If it stays so, the source itself is damaged."


class ManifestInvalid(BackupError):
    code = "manifest_invalid"


class RestoreError(BackupError):
    code = "restore_failed"

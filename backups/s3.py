"""Looking at an object store before restic does: credentials, bucket, versions, object lock, clock, a probe object.

restic retries for a quarter of an hour what a store refuses, and makes a bucket that is missing; both are found out
here within seconds, and a bucket is made only when asked for.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, SSLError

from backups.errors import (
    BucketMissing,
    ClockWrong,
    CredentialsInvalid,
    RepositoryError,
    RepositoryRefused,
    RepositoryUnreachable,
)
from backups.findings import ERROR, NOTE, WARNING, Finding
from backups.place import NEEDED, S3, Address, PlaceOptions

SECONDS = 10
# A store refuses requests from another time than its own, the usual tolerance is 15 minutes.
SKEW_WARNING, SKEW_ERROR = 60, 600
AMAZON = ".amazonaws.com"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket and the client that reaches it."""

    address: Address
    client: Any  # boto3 makes its client classes while it runs

    @classmethod
    def connect(cls, address: Address, options: PlaceOptions, credentials: Mapping[str, str]) -> Bucket:
        """Make a client; nothing is sent yet.

        Raises:
            CredentialsInvalid: the key or its secret is missing.
        """
        lacking = [name for name in NEEDED[S3] if not credentials.get(name)]
        if lacking:
            raise CredentialsInvalid(f"the credentials for {address.endpoint} lack {' and '.join(lacking)}")
        amazon = address.host.endswith(AMAZON)
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=address.endpoint,
            region_name=options.region or credentials.get("AWS_DEFAULT_REGION") or "us-east-1",
            aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=credentials.get("AWS_SESSION_TOKEN"),
            verify=str(options.ca_file) if options.ca_file else None,
            config=Config(
                connect_timeout=SECONDS,
                read_timeout=SECONDS,
                retries={"total_max_attempts": 2},
                s3={"addressing_style": "auto" if amazon else "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        return cls(address, client)

    def demand(self) -> float:
        """Prove that the credentials may list the bucket; returns how many seconds this machine's clock is ahead.

        Raises:
            RepositoryUnreachable, RepositoryRefused, BucketMissing, ClockWrong
        """
        with self._asking("list the bucket"):
            answer = self.client.list_objects_v2(Bucket=self.address.bucket, Prefix=self.address.path, MaxKeys=1)
        return _skew(answer) or 0.0

    def make(self) -> None:
        """Make the bucket.

        Raises:
            RepositoryError: as `demand`.
        """
        region = self.client.meta.region_name
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        with self._asking("make the bucket"):
            self.client.create_bucket(Bucket=self.address.bucket, **where)

    def protection(self) -> Protection:
        """What the bucket does against removal; a store that knows nothing of it protects nothing."""
        name = self.address.bucket
        versioning = _told(lambda: self.client.get_bucket_versioning(Bucket=name))
        lock = _told(lambda: self.client.get_object_lock_configuration(Bucket=name)).get("ObjectLockConfiguration", {})
        retention = lock.get("Rule", {}).get("DefaultRetention", {})
        return Protection(
            versioned=versioning.get("Status") == "Enabled",
            locked=lock.get("ObjectLockEnabled") == "Enabled",
            days=int(retention.get("Days", 0)) + 365 * int(retention.get("Years", 0)),
        )

    def try_out(self) -> Iterator[Finding]:
        """Write, read and remove an object beside the repository's own."""
        key, content = self._key("ragkeep-probe"), secrets.token_bytes(32)
        try:
            with self._asking("write an object"):
                self.client.put_object(Bucket=self.address.bucket, Key=key, Body=content)
            with self._asking("read an object"):
                found = self.client.get_object(Bucket=self.address.bucket, Key=key)["Body"].read()
        except RepositoryError as error:
            yield Finding.of(error)
            return
        if found != content:
            yield Finding(ERROR, "probe_differs", f"{self._name} gave back something else than was written")
        try:
            with self._asking("remove an object"):
                self.client.delete_object(Bucket=self.address.bucket, Key=key)
        except RepositoryError as error:
            yield Finding(
                WARNING, "no_removal", error.message, "Allow it, or mark the repository as append-only; see the docs."
            )

    def may_remove(self) -> bool:
        """Whether the credential may remove pack files; asked about one that does not exist."""
        try:
            with self._asking("remove an object"):
                self.client.delete_object(Bucket=self.address.bucket, Key=self._key(f"data/00/{secrets.token_hex(32)}"))
        except RepositoryRefused:
            return False
        return True

    def _key(self, name: str) -> str:
        prefix = self.address.path.strip("/")
        return "/".join(part for part in (prefix, f"{name}-{secrets.token_hex(4)}") if part)

    @property
    def _name(self) -> str:
        return f"the bucket {self.address.bucket} at {self.address.endpoint}"

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        try:
            yield
        except SSLError:
            raise RepositoryUnreachable(
                f"the certificate of {self.address.endpoint} is not one that this machine trusts",
                "Give the certificate of the authority that issued it (on a command line: --ca-file FILE).",
            ) from None
        except ClientError as error:
            raise self._refusal(what, error) from None
        except BotoCoreError:
            raise RepositoryUnreachable(f"the object store {self.address.endpoint} does not answer") from None

    def _refusal(self, what: str, error: ClientError) -> RepositoryError:
        """A typed error from the store's own error code and the status of its answer."""
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        skew = _skew(error.response)
        if code == "RequestTimeTooSkewed" or (status == 403 and abs(skew or 0) > SKEW_ERROR):
            return ClockWrong(f"this machine's clock is {abs(skew or 0):.0f} s from that of {self.address.endpoint}")
        if code == "NoSuchBucket" or status == 404:
            return BucketMissing(f"there is no bucket {self.address.bucket} at {self.address.endpoint}")
        if status >= 500:
            return RepositoryUnreachable(f"the object store {self.address.endpoint} has a problem (status {status})")
        if status in (301, 307, 400):
            return RepositoryRefused(
                f"{self._name} is not served here (status {status}, {code})",
                "Check the address, and give the region of the bucket.",
            )
        return RepositoryRefused(f"{self._name} refuses to {what} with these credentials (status {status}, {code})")


@dataclass(frozen=True, slots=True)
class Protection:
    """What a bucket does against removal. `days`: for how long a new object is locked, 0 for not at all."""

    versioned: bool
    locked: bool
    days: int

    def findings(self, *, append_only: bool) -> Iterator[Finding]:
        if self.days:
            yield Finding(
                NOTE,
                "object_lock",
                f"The bucket locks every object for {self.days} days: removed sets free no space before that.",
            )
        elif self.versioned:
            yield Finding(
                NOTE,
                "versioned",
                "The bucket keeps old versions: what retention removes goes on taking space.",
                "Set a lifecycle rule in the bucket that ends old versions after as many days as you want to go back.",
            )
        elif append_only:
            yield Finding(
                WARNING,
                "unprotected",
                "The bucket keeps no old versions: only the credential keeps history from being removed.",
                "Make the bucket with versioning and object lock, as docs/how-to/repositories.md shows.",
            )


def look(
    address: Address, options: PlaceOptions, credentials: Mapping[str, str]
) -> tuple[list[Finding], dict[str, Any]]:
    """Everything about the bucket: the findings, and figures `versioned`, `locked`, `lock_days`, `clock_seconds`.

    Raises:
        RepositoryError: it cannot be used at all.
    """
    bucket = Bucket.connect(address, options, credentials)
    skew = bucket.demand()
    protection = bucket.protection()
    findings = [*_clock(skew), *protection.findings(append_only=options.append_only)]
    if not options.append_only:
        findings += bucket.try_out()
    elif not protection.locked and bucket.may_remove():
        findings.append(_removes())
    figures = {"versioned": protection.versioned, "locked": protection.locked, "lock_days": protection.days}
    return findings, {**figures, "clock_seconds": round(skew)}


def _clock(skew: float) -> Iterator[Finding]:
    if abs(skew) > SKEW_WARNING:
        where = "ahead of" if skew > 0 else "behind"
        yield Finding(
            WARNING,
            ClockWrong.code,
            f"This machine's clock is {abs(skew):.0f} s {where} the object store's.",
            ClockWrong.default_remedy,
        )


def _removes() -> Finding:
    return Finding(
        WARNING,
        "removes",
        "Append-only in name only: this credential may remove what is in the repository.",
        "Give a credential that may not, as docs/how-to/repositories.md shows.",
    )


def _told(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return ask()
    except ClientError:
        return {}


def _skew(answer: Mapping[str, Any]) -> float | None:
    """Seconds that this machine is ahead of the server's Date header; None without one."""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return time.time() - parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError):
        return None

"""`manage.py ingest`: upload files and folders, and wait until they can be asked about."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import httpx

from config.cli.client import Access, access_options, base_id, call, send, signed_in
from config.cli.meter import Meter
from config.cli.output import UserError, json_option, speaking

# What the service can read; anything else in a folder is skipped with a sentence instead of uploaded and refused.
SUFFIXES = frozenset(
    [
        ".pdf",
        ".docx",
        ".html",
        ".htm",
        ".xhtml",
        ".md",
        ".markdown",
        ".txt",
        ".text",
        ".log",
        ".csv",
        ".tsv",
        ".rst",
        "",
    ]
)
UPLOADS_AT_ONCE = 4
# A stack that restarts or is being restored comes back within this many seconds.
PATIENCE = 120
STALLED_AFTER = 600
PAGE = 1000
# While more documents than this are on their way, they are counted, and listed only every LIST_SECONDS.
FEW = 20
LIST_SECONDS = 15
# In the order in which a document passes them: one that moves on while we look is seen again in a later state.
UNFINISHED = ("received", "stored", "parsed", "chunked", "embedded", "indexed")


@dataclass(frozen=True, slots=True)
class Item:
    """A file to upload, and the path it gets in the knowledge base."""

    file: Path
    path: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A document of the service; `new` is false when it had the same content already."""

    id: str
    new: bool


@dataclass(slots=True)
class Report:
    """What became of every file."""

    files: int = 0
    uploaded: int = 0
    unchanged: int = 0
    ready: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    paths: dict[str, str] = field(default_factory=dict)
    """Document id -> the path of the file here."""

    def fail(self, path: str, reason: str) -> None:
        self.failed.append({"path": path, "reason": reason})


@click.command("ingest")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--base", help="Put them into this knowledge base, by name or id; your own one by default.")
@access_options
@json_option
def command(
    paths: tuple[Path, ...],
    base: str | None,
    url: str | None,
    email: str | None,
    password_file: Path | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Upload PATHS, files or whole folders, and wait until each is ready or has failed.

    Interrupt it and call it again at any time: what is there already with the same content is not uploaded twice.
    """
    began = time.monotonic()
    with speaking(as_json=as_json) as output, signed_in(Access(url, email, password_file, key_file)) as client:
        report = Report()
        items = list(collect(paths, report))
        report.files = len(items)
        for skipped in report.skipped:
            output.line(f"skipped {skipped['path']}: {skipped['reason']}")
        target = base_id(client, base)
        with Meter(output, "uploading", len(items)) as meter:
            _upload(client, items, target, report, meter)
        upload_seconds = time.monotonic() - began
        with Meter(output, "making ready", len(report.paths)) as meter:
            _wait(client, target, report, meter)
        fields = _fields(report, time.monotonic() - began, upload_seconds)
        output.result(fields, _text(fields))
    sys.exit(1 if report.failed else 0)


def collect(paths: Sequence[Path], report: Report) -> Iterator[Item]:
    """Files to upload: those named, and those in named folders; what a folder holds besides goes to `skipped`."""
    for path in paths:
        if not path.is_dir():
            yield Item(path, path.name)
            continue
        for file in _walk(path):
            if file.suffix.lower() in SUFFIXES:
                yield Item(file, file.relative_to(path).as_posix())
            else:
                reason = f"files of type {file.suffix} are not supported. Use PDF, DOCX, HTML, Markdown or text."
                report.skipped.append({"path": str(file), "reason": reason})


def _walk(folder: Path) -> Iterator[Path]:
    # Links to folders are not followed, so no loop; hidden files are a tool's, not a reader's.
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and (Path(place) / name).is_file():
                yield Path(place) / name


def _upload(client: httpx.Client, items: Sequence[Item], base: str | None, report: Report, meter: Meter) -> None:
    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
        waiting = {pool.submit(_upload_one, client, item, base): item for item in items}
        try:
            for done in as_completed(waiting):
                _note_upload(report, waiting[done], done.exception() or done.result())
                meter.advance(len(report.failed))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _upload_one(client: httpx.Client, item: Item, base: str | None) -> Stored:
    fields = {"path": item.path, **({"base": base} if base else {})}
    content = item.file.read_bytes()  # not a stream: a retry after a restart of the service needs it again
    files = {"file": (item.file.name, content)}
    answer = send(client, "POST", "/api/documents", patience=PATIENCE, data=fields, files=files)
    document = answer.json()
    if document["state"] == "failed" and answer.status_code == httpx.codes.OK:
        call(client, "POST", f"/api/documents/{document['id']}/retry", patience=PATIENCE)
    return Stored(document["id"], new=answer.status_code == httpx.codes.CREATED)


def _note_upload(report: Report, item: Item, outcome: BaseException | Stored) -> None:
    if isinstance(outcome, UserError):
        if outcome.code in ("down", "unauthenticated"):
            raise outcome  # the same would be said of every other file
        report.fail(str(item.file), outcome.message)
    elif isinstance(outcome, OSError):
        report.fail(str(item.file), f"the file cannot be read: {outcome.strerror}")
    elif isinstance(outcome, BaseException):
        raise outcome
    else:
        report.paths[outcome.id] = str(item.file)
        report.uploaded += outcome.new
        report.unchanged += not outcome.new


def _wait(client: httpx.Client, base: str | None, report: Report, meter: Meter) -> None:
    """Wait for every uploaded document, then count what is ready and name what failed."""
    left, fewest, moved, listed = set(report.paths), len(report.paths), time.monotonic(), 0.0
    while left:
        # Counting costs the service little. The documents are listed only when few are left, and now and then because
        # those of others are counted too.
        unfinished = _unfinished(client, base)
        if unfinished <= FEW or time.monotonic() - listed > LIST_SECONDS:
            left &= {item["id"] for state in UNFINISHED for item in _documents(client, base, state)}
            listed = time.monotonic()
        now = min(fewest, len(left), unfinished)
        if now < fewest:
            fewest, moved = now, time.monotonic()
        meter.set(len(report.paths) - now, len(report.failed))
        if time.monotonic() - moved > STALLED_AFTER:
            raise UserError(
                f"{len(left)} documents made no progress for {STALLED_AFTER // 60} minutes",
                "see manage.py status and manage.py logs ingest; they go on by themselves once the cause is gone",
                "stalled",
            )
        if left:
            time.sleep(0.5)
    _settle(client, base, report)


def _unfinished(client: httpx.Client, base: str | None) -> int:
    """How many documents are on their way, of anybody in the bases that are mine to see."""
    params = {"limit": 1, **({"base": base} if base else {})}
    counts = call(client, "GET", "/api/documents", patience=PATIENCE, params=params)["counts"]
    return sum(counts.get(state, 0) for state in UNFINISHED)


def _settle(client: httpx.Client, base: str | None, report: Report) -> None:
    seen = {item["id"]: item for item in _documents(client, base, None) if item["id"] in report.paths}
    for document_id, path in report.paths.items():
        item = seen.get(document_id, {"state": "gone"})
        if item["state"] == "ready":
            report.ready += 1
        elif item["state"] == "failed":
            report.fail(path, item["reason"])
        else:
            report.fail(path, "the document was deleted or replaced meanwhile. Upload it again.")


def _documents(client: httpx.Client, base: str | None, state: str | None) -> Iterator[dict[str, Any]]:
    wanted = {"base": base, "state": state, "limit": PAGE, "after": None}
    while True:
        params = {name: value for name, value in wanted.items() if value is not None}
        page = call(client, "GET", "/api/documents", patience=PATIENCE, params=params)
        yield from page["documents"]
        if page["next"] is None:
            return
        wanted["after"] = page["next"]


def _fields(report: Report, seconds: float, upload_seconds: float) -> dict[str, Any]:
    return {
        "files": report.files,
        "uploaded": report.uploaded,
        "unchanged": report.unchanged,
        "ready": report.ready,
        "failed": report.failed,
        "skipped": report.skipped,
        "seconds": round(seconds, 1),
        "upload_seconds": round(upload_seconds, 1),
        "rate_per_second": round(report.uploaded / seconds, 1) if seconds else 0,
    }


def _text(fields: dict[str, Any]) -> str:
    lines = [
        f"{fields['ready']} of {fields['files']} documents ready "
        f"({fields['uploaded']} uploaded, {fields['unchanged']} were there already) in {fields['seconds']:g} s"
    ]
    lines += [f"failed {item['path']}: {item['reason']}" for item in fields["failed"]]
    return "\n".join(lines)

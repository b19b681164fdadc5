"""Receiving one file by multipart/form-data straight into its temporary file, with a limit.

Starlette's own form parser would spool the whole upload somewhere else first, without a limit.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import python_multipart
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from rag_api.errors import ApiError
from rag_api.storage import Incoming, Storage

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD_BYTES = 8192
# The rest of a body that is too large is read and dropped up to here, so that the client gets to read the answer.
DRAIN_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Upload:
    """What was received: the finished incoming file, the file's name as sent, and the other fields."""

    incoming: Incoming
    filename: str
    fields: dict[str, str]


class _Form:
    """Callbacks of the multipart parser; collects fields, and hands the bytes of `file` to an incoming file."""

    def __init__(self, storage: Storage, limit: int) -> None:
        self.fields: dict[str, str] = {}
        self.incoming: Incoming | None = None
        self.filename = ""
        self.too_large = False
        self._storage = storage
        self._limit = limit
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._field = ""
        self._value = bytearray()
        self._in_file = False

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self.on_part_begin,
            "on_part_data": self.on_part_data,
            "on_part_end": self.on_part_end,
            "on_header_field": self.on_header_field,
            "on_header_value": self.on_header_value,
            "on_header_end": self.on_header_end,
            "on_headers_finished": self.on_headers_finished,
        }

    def on_part_begin(self) -> None:
        self._disposition, self._value, self._in_file = b"", bytearray(), False

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def on_header_end(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self._disposition = bytes(self._header[1])
        self._header = (bytearray(), bytearray())

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            return
        if self._field != "file" or self.incoming is not None:
            raise ApiError(400, "bad_form", "Send exactly one file, in the form field 'file'.")
        self.filename = options[b"filename"].decode("utf-8", "replace")
        self.incoming = self._storage.receive()
        self._in_file = True

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._in_file:
            self._value.extend(data[start:end])
            if len(self._value) > FIELD_BYTES:
                raise ApiError(400, "bad_form", f"The form field '{self._field[:50]}' is too long.")
            return
        assert self.incoming is not None
        if self.incoming.size + end - start > self._limit:
            self.too_large = True
        if not self.too_large:
            self.incoming.write(data[start:end])

    def on_part_end(self) -> None:
        if not self._in_file and self._field:
            self.fields[self._field] = self._value.decode("utf-8", "replace")

    def close(self) -> None:
        if self.incoming is not None:
            self.incoming.discard()


async def receive_upload(request: Request, storage: Storage, limit: int) -> Upload:
    """Read the request's body; the caller discards the incoming file in the end.

    Raises:
        ApiError: 400 not a form or no file or an empty one, 413 a file above `limit` bytes, 507 the disk is full.
    """
    form = _Form(storage, limit)
    try:
        await _feed(request, form, limit)
        return _checked(form, limit)
    except FormParserError:
        form.close()
        raise ApiError(400, "bad_form", "The upload is not valid multipart/form-data; send it again.") from None
    except OSError as error:
        form.close()
        raise ApiError(
            507, "storage_full", f"The file could not be stored ({error.strerror}); make room on the server's disk."
        ) from error
    except BaseException:
        form.close()
        raise


async def _feed(request: Request, form: _Form, limit: int) -> None:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise ApiError(400, "bad_form", "Send the file as multipart/form-data, in the form field 'file'.")
    parser = python_multipart.MultipartParser(boundary, form.callbacks())
    received = 0
    async for piece in request.stream():
        received += len(piece)
        if received > limit + DRAIN_BYTES:
            raise _too_large(limit)
        if not form.too_large:
            parser.write(piece)
    if not form.too_large:
        parser.finalize()


def _checked(form: _Form, limit: int) -> Upload:
    if form.too_large:
        raise _too_large(limit)
    if form.incoming is None:
        raise ApiError(400, "bad_form", "There is no file in the form; send it in the form field 'file'.")
    if form.incoming.size == 0:
        raise ApiError(400, "empty_file", f"{_shown(form.filename)} is empty (0 bytes); choose a file with content.")
    return Upload(form.incoming, form.filename, form.fields)


def document_path(given: str | None, filename: str) -> str:
    """The path of a document inside its base: as given, else the file's name; always relative and plain.

    Raises:
        ApiError: 400, it leads out of its folder, holds control characters, or is empty or too long.
    """
    path = unicodedata.normalize("NFC", given if given else filename)
    parts = path.split("/")
    if ".." in parts or path.startswith("/") or "\\" in path:
        raise ApiError(400, "bad_name", f"The name {_shown(path)} leads out of its folder; use a plain file name.")
    if any(unicodedata.category(c) in {"Cc", "Cs"} or c == "\ufffd" for c in path):
        raise ApiError(400, "bad_name", f"The name {_shown(path)} holds unprintable characters; rename the file.")
    clean = str(PurePosixPath(*[p for p in parts if p not in {"", "."}]))
    if clean == "." or len(clean) > 1000 or len(PurePosixPath(clean).name.encode()) > 255:
        raise ApiError(400, "bad_name", f"The name {_shown(path)} is empty or too long; rename the file.")
    return clean


def _too_large(limit: int) -> ApiError:
    return ApiError(
        413,
        "too_large",
        f"The file is larger than the allowed {limit / 2**20:g} MiB; split it or ask for a higher limit.",
    )


def _shown(name: str) -> str:
    return "'" + "".join(c if c.isprintable() else "?" for c in name[:80]) + "'"

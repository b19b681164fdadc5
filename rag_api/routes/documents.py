"""Routes of documents."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response, status
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel

from rag_api import documents
from rag_api.deps import ServicesDep, UserDep
from rag_api.errors import ApiError, not_found
from rag_api.storage import Storage
from rag_api.uploads import Upload, document_path, receive_upload

router = APIRouter(prefix="/api/documents", tags=["documents"])

State = Literal["received", "stored", "parsed", "chunked", "embedded", "indexed", "ready", "failed", "deleting"]

UPLOAD_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "base": {"type": "string", "format": "uuid", "description": "Your personal base by default."},
                        "path": {"type": "string", "description": "The name of the file by default."},
                    },
                }
            }
        },
    },
    "responses": {"200": {"description": "The same content is there already."}},
}


class Document(BaseModel):
    """A document; `reason` says why it failed and what to do."""

    id: UUID
    name: str
    path: str
    base: UUID
    state: State
    reason: str | None
    bytes: int
    sha256: str
    pages: int | None
    chunks: int | None
    generation: int
    created_at: str
    updated_at: str


class DocumentList(BaseModel):
    """A page of documents; `next` goes into `after` for the next page, `counts` are over all pages."""

    documents: list[Document]
    counts: dict[str, int]
    next: int | None


@router.post(
    "", summary="Upload a document", status_code=status.HTTP_201_CREATED, response_model=Document,
    openapi_extra=UPLOAD_FORM,
)  # fmt: skip
async def upload(services: ServicesDep, user: UserDep, request: Request) -> Response:
    """Store a file and queue it for ingestion; other content at the same path becomes its next generation."""
    storage = Storage(services.settings)
    received = await receive_upload(request, storage, services.settings.max_upload_bytes)

    def store() -> tuple[dict[str, Any], bool]:
        path = document_path(received.fields.get("path"), received.filename)
        base_id = _base_field(received)
        received.incoming.finish()
        row, new = documents.document_store(
            services, storage, user=user, base_id=base_id, path=path, incoming=received.incoming
        )
        return documents.document_json(row), new

    try:
        body, new = await run_in_threadpool(store)
    finally:
        received.incoming.discard()
    return JSONResponse(body, status.HTTP_201_CREATED if new else status.HTTP_200_OK)


@router.get("", summary="List documents")
def list_documents(
    services: ServicesDep,
    user: UserDep,
    base: UUID | None = None,
    state: State | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: int | None = None,
    name: Annotated[str | None, Query(max_length=200)] = None,
) -> DocumentList:
    """My documents and those of bases I am a member of, newest first; `name` is a part of the file's name."""
    with services.pool.connection() as connection:
        rows, counts = documents.document_list(
            connection, user, base_id=base, state=state, limit=limit, after=after, name=name
        )
    following = rows[-1]["seq"] if len(rows) == limit else None
    shown = [Document(**documents.document_json(row)) for row in rows]
    return DocumentList(documents=shown, counts=counts, next=following)


@router.get("/{document_id}", summary="Get a document")
def get_document(services: ServicesDep, user: UserDep, document_id: UUID) -> Document:
    """One document and the state of its ingestion."""
    with services.pool.connection() as connection:
        return _document(documents.document_get(connection, user, document_id))


@router.get("/{document_id}/content", summary="Download a document", response_class=FileResponse)
def get_content(services: ServicesDep, user: UserDep, document_id: UUID) -> FileResponse:
    """The file as it was uploaded, always as an attachment."""
    with services.pool.connection() as connection:
        row = documents.document_get(connection, user, document_id)
    path = Storage(services.settings).path(row["live_sha256"] or row["sha256"])
    if row["state"] == "deleting" or not path.exists():
        raise not_found("document")
    headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'"}
    return FileResponse(path, media_type="application/octet-stream", filename=row["name"], headers=headers)


@router.delete("/{document_id}", summary="Delete a document", status_code=status.HTTP_202_ACCEPTED)
def delete_document(services: ServicesDep, user: UserDep, document_id: UUID) -> Document:
    """Take a document away: nobody finds it from now on; its vectors, words and file are removed next."""
    with services.pool.connection() as connection:
        return _document(documents.document_delete(connection, user, document_id))


@router.post("/{document_id}/retry", summary="Retry a failed document", status_code=status.HTTP_202_ACCEPTED)
def retry_document(services: ServicesDep, user: UserDep, document_id: UUID) -> Document:
    """Send a failed document through ingestion again."""
    with services.pool.connection() as connection:
        return _document(documents.document_retry(connection, user, document_id))


def _document(row: dict[str, Any]) -> Document:
    return Document(**documents.document_json(row))


def _base_field(received: Upload) -> UUID | None:
    given = received.fields.get("base", "").strip()
    if not given:
        return None
    try:
        return UUID(given)
    except ValueError:
        raise ApiError(400, "bad_base", "The field 'base' must be the id of a knowledge base.") from None

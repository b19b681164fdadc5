"""Health, readiness, and what the stack itself asks."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Depends, Request, Response, status

from rag_api.deps import ServicesDep, require_internal
from rag_api.readiness import dependency_states
from rag_api.schema import READ, read_schema

router = APIRouter()


@router.get("/health", tags=["health"], summary="Is the process alive")
def health() -> dict[str, str]:
    """Answers while the process can answer at all; says nothing about its dependencies."""
    return {"status": "ok"}


@router.get("/ready", tags=["health"], summary="Can it serve")
def ready(services: ServicesDep, response: Response) -> dict[str, object]:
    """Whether every dependency answers, one by one; status 503 when one does not."""
    states = dependency_states(services)
    good = all(state == "ok" for state in states.values())
    if not good:
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return {"ready": good, "dependencies": states}


@router.get("/idle", include_in_schema=False)
def idle(request: Request, response: Response) -> dict[str, int]:
    """How many requests are being answered; status 503 while there are any. Whoever ends this process waits for it."""
    count: int = request.app.state.in_flight.count
    if count:
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return {"requests": count}


@router.get("/internal/counts", tags=["internal"], dependencies=[Depends(require_internal)], summary="Count everything")
def counts(services: ServicesDep) -> dict[str, int]:
    """How many users, documents, chunks and conversations there are; for the backup agent and drills."""
    with services.pool.connection() as connection:
        rows = connection.execute("SELECT name, value FROM backup_counts").fetchall()
    return {row["name"]: row["value"] for row in rows}


@router.get("/internal/schema", tags=["internal"], dependencies=[Depends(require_internal)], summary="Which schema")
def schema(services: ServicesDep) -> dict[str, str]:
    """The schema that this program brings a database to (`code`), the one the database has (`database`), and the
    oldest whose code still works with it (`oldest`): what a roll-back has to know."""
    with services.pool.connection() as connection:
        row = connection.execute(READ).fetchone()
    return asdict(read_schema(row)) if row else {}

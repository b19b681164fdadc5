"""The RAG service's own schema in the database of a small stack."""

from __future__ import annotations

import os
import sys

from backups import process
from tests.support import servers
from tests.support.restorable import SmallStack


def migrate(stack: SmallStack) -> None:
    """Make the stack's database as the api's start does."""
    stack.server.create(stack.database)
    settings = {
        "PATH": os.environ["PATH"],
        "POSTGRES_URL": f"postgresql://rag@{stack.postgres.host}:{stack.postgres.port}/{stack.database}",
        "POSTGRES_PASSWORD_FILE": str(stack.root / "secrets" / "postgres"),
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "REDIS_PASSWORD_FILE": str(stack.root / "secrets" / "postgres"),
        "VECTORDB_URL": stack.vectordb_url,
        "OLLAMA_URL": stack.vectordb_url,
        "DOCUMENTS_DIR": str(stack.live("documents")),
        "INDEX_DIR": str(stack.live("index")),
        "INTERNAL_TOKEN_FILE": str(stack.root / "secrets" / "postgres"),
        "ADMIN_EMAIL": "admin@example.org",
        "ADMIN_PASSWORD_FILE": str(stack.root / "secrets" / "postgres"),
        "ENVIRONMENT": "test",
    }
    process.run([sys.executable, "-m", "rag_api", "migrate"], env=settings, cwd=servers.REPO)

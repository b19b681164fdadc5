"""Conversations and their messages, always of one user."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from rag_api.access import User
from rag_api.answers.prompt import Message
from rag_api.db import Connection, Row
from rag_api.errors import not_found

_TITLE_CHARACTERS = 80
# Messages before a question that the model may be reminded of.
HISTORY = 4


def conversation_begin(
    connection: Connection, user: User, question: str, *, base_id: UUID | None, conversation_id: UUID | None
) -> UUID:
    """Keep a question, in the user's conversation or in a new one, and return the conversation's id.

    Raises:
        ApiError: 404, `conversation_id` is not a conversation of this user.
    """
    if conversation_id is None:
        row = connection.execute(
            "INSERT INTO conversations (user_id, base_id, title) VALUES (%s, %s, %s) RETURNING id",
            (user.id, base_id, " ".join(question.split())[:_TITLE_CHARACTERS]),
        ).fetchone()
    else:
        row = connection.execute(
            "UPDATE conversations SET updated_at = now() WHERE id = %s AND user_id = %s RETURNING id",
            (conversation_id, user.id),
        ).fetchone()
    if row is None:
        raise not_found("conversation")
    found: UUID = row["id"]
    connection.execute(
        "INSERT INTO messages (conversation_id, role, content) VALUES (%s, 'user', %s)", (found, question)
    )
    return found


def answer_keep(
    connection: Connection,
    conversation_id: UUID,
    *,
    answer: str,
    found: bool,
    sources: list[dict[str, Any]],
    model: str,
) -> None:
    """Keep an answer, whole or as far as it came; one whose conversation was deleted meanwhile is dropped."""
    connection.execute(
        "INSERT INTO messages (conversation_id, role, content, found, sources, model)"
        " SELECT id, 'assistant', %s, %s, %s, %s FROM conversations WHERE id = %s",
        (answer, found, Jsonb(sources), model, conversation_id),
    )


def conversation_history(connection: Connection, conversation_id: UUID) -> list[Message]:
    """The messages before the question just asked, oldest first, at most HISTORY."""
    rows = connection.execute(
        "SELECT role, content FROM messages WHERE conversation_id = %s ORDER BY id DESC OFFSET 1 LIMIT %s",
        (conversation_id, HISTORY),
    ).fetchall()
    return [{"role": row["role"], "content": row["content"]} for row in reversed(rows)]


def conversation_list(connection: Connection, user: User) -> list[Row]:
    """The user's conversations, last used first, at most 200."""
    return connection.execute(
        "SELECT id, title, base_id AS base, created_at, updated_at FROM conversations WHERE user_id = %s"
        " ORDER BY updated_at DESC LIMIT 200",
        (user.id,),
    ).fetchall()


def conversation_get(connection: Connection, user: User, conversation_id: UUID) -> Row:
    """One conversation with its messages, oldest first; raises ApiError 404."""
    row = connection.execute(
        "SELECT id, title, base_id AS base, created_at, updated_at FROM conversations WHERE id = %s AND user_id = %s",
        (conversation_id, user.id),
    ).fetchone()
    if row is None:
        raise not_found("conversation")
    messages = connection.execute(
        "SELECT role, content AS text, found, sources, model, created_at FROM messages"
        " WHERE conversation_id = %s ORDER BY id",
        (conversation_id,),
    ).fetchall()
    return {**row, "messages": messages}


def conversation_delete(connection: Connection, user: User, conversation_id: UUID) -> None:
    """Remove a conversation and its messages; raises ApiError 404."""
    row = connection.execute(
        "DELETE FROM conversations WHERE id = %s AND user_id = %s RETURNING id", (conversation_id, user.id)
    ).fetchone()
    if row is None:
        raise not_found("conversation")

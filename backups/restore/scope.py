"""Which sources of a set are restored, and which of them belong together.

Documents, their rows and their vectors name one another. Restored apart they would leave rows without files, or files
that nobody finds. So documents and postgres come together. Vectors may be left out: then the store is emptied and the
service derives them again from the restored documents.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from backups.restore.errors import ScopeRefused

DOCUMENTS, VECTORS, POSTGRES, MODELS, CONFIG = "documents", "vectors", "postgres", "models", "config"
# What a stack of the RAG service consists of; any other name in a set is a further source of that stack.
OWN = (DOCUMENTS, VECTORS, MODELS, POSTGRES, CONFIG)
# Whoever holds or reads the data of a source, and so has to stand still while it changes places.
USERS = {
    DOCUMENTS: ("ingest", "api"),
    VECTORS: ("ingest", "api", "vectordb"),
    POSTGRES: ("ingest", "api"),
    MODELS: ("ollama",),
}


@dataclass(frozen=True, slots=True)
class Scope:
    """Sources that are restored; `names` None means all that belong to the stack, without its configuration."""

    names: frozenset[str] | None = None

    def __contains__(self, source: object) -> bool:
        return self.names is None or source in self.names

    @property
    def whole(self) -> bool:
        return self.names is None

    @property
    def data(self) -> bool:
        """Whether documents and their rows are restored, so that sessions, word index and answers change."""
        return POSTGRES in self

    @property
    def derives_vectors(self) -> bool:
        """Whether the vectors are left to be derived again from the restored documents."""
        return self.data and VECTORS not in self

    @property
    def users(self) -> tuple[str, ...]:
        """Services that stand still during the exchange, in the order in which they are stopped."""
        named = USERS if self.names is None else self.names | ({VECTORS} if self.derives_vectors else set())
        wanted = {user for name in named for user in USERS.get(name, ())}
        return tuple(user for user in ("ingest", "api", "vectordb", "ollama") if user in wanted)

    def to_json(self) -> list[str] | None:
        return None if self.names is None else sorted(self.names)


WHOLE = Scope()


def scope_of(wanted: Iterable[str] | None, held: Iterable[str]) -> Scope:
    """The scope of a restore into a stack.

    Args:
        wanted: names of sources; None or none at all for all of them.
        held: the sources of the set.

    Raises:
        ScopeRefused: the set lacks one of them, or they would leave the stores apart.
    """
    names, there = frozenset(wanted or ()), sorted(held)
    own = (set(OWN) & set(there)) - {CONFIG}
    if not names and not own:
        raise ScopeRefused("the set holds nothing that is restored into a stack", "Restore it to a folder.")
    if not names:
        return WHOLE if {DOCUMENTS, VECTORS, POSTGRES} <= own else scope_of(own, there)
    absent = sorted(names - set(there))
    if absent:
        raise ScopeRefused(f"the set has no source {absent[0]}", f"Choose among: {', '.join(there)}.")
    if CONFIG in names:
        raise ScopeRefused(
            "a configuration is not put over a running stack", "Restore it to a folder and compare it with yours."
        )
    further = sorted(names - set(OWN))
    if further:
        raise ScopeRefused(
            f"{further[0]} is a further source, which belongs to another program",
            "Restore it to a folder; that program has to be stopped before its data is put in place.",
        )
    if (DOCUMENTS in names) != (POSTGRES in names):
        alone, lacking = (DOCUMENTS, POSTGRES) if DOCUMENTS in names else (POSTGRES, DOCUMENTS)
        raise ScopeRefused(
            f"{alone} without {lacking} would leave files and their rows apart",
            f"Add {lacking}; or bring back only lost files, or single documents, which stops nothing.",
        )
    if VECTORS in names and DOCUMENTS not in names:
        raise ScopeRefused(
            "vectors alone would not belong to the documents of today",
            "Add documents and postgres. Vectors that are missing are derived again by the service itself.",
        )
    return Scope(names)


def choose_for_folder(wanted: Iterable[str] | None, held: Iterable[str]) -> tuple[str, ...]:
    """The sources to bring to a folder: any of the set's, alone or together.

    Raises:
        ScopeRefused: the set lacks one of them.
    """
    there = sorted(held)
    names = sorted(set(wanted or there))
    absent = [name for name in names if name not in there]
    if absent:
        raise ScopeRefused(f"the set has no source {absent[0]}", f"Choose among: {', '.join(there)}.")
    return tuple(names)

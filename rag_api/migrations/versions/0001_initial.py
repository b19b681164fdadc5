"""Accounts, knowledge bases, documents with leases, chunks, conversations, and the views a backup reads."""

from alembic import op

revision = "0001"
down_revision = None

ACCOUNTS = """
CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email text NOT NULL CHECK (email = lower(email)),
    name text NOT NULL,
    password_hash text NOT NULL,
    is_admin boolean NOT NULL DEFAULT false,
    active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_email_key UNIQUE (email)
);
CREATE TABLE api_keys (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    name text NOT NULL,
    prefix text NOT NULL,
    key_hash bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX api_keys_user ON api_keys (user_id);
CREATE TABLE bases (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL,
    owner_id uuid NOT NULL REFERENCES users,
    personal boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX bases_owner ON bases (owner_id);
CREATE UNIQUE INDEX bases_one_personal ON bases (owner_id) WHERE personal;
CREATE TABLE members (
    base_id uuid NOT NULL REFERENCES bases ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    role text NOT NULL CHECK (role IN ('reader', 'writer')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (base_id, user_id)
);
CREATE INDEX members_user ON members (user_id);
"""

# generation, sha256, bytes and collection_id speak of the content being processed; the live_ columns of the content
# that answers questions, which stays the older one until the newer is ready. removed_vectors is set once a document
# that is going has left Chroma and the word index, and only its file and row remain.
DOCUMENTS = """
CREATE TABLE collections (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    model text NOT NULL,
    model_digest text NOT NULL,
    dimension integer NOT NULL CHECK (dimension > 0),
    prefixes text NOT NULL DEFAULT '',
    active boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX collections_one_active ON collections (active) WHERE active;
CREATE TABLE documents (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    base_id uuid NOT NULL REFERENCES bases,
    created_by uuid REFERENCES users ON DELETE SET NULL,
    path text NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    bytes bigint NOT NULL CHECK (bytes > 0),
    title text NOT NULL DEFAULT '',
    pages integer,
    chunk_count integer,
    generation integer NOT NULL DEFAULT 1,
    live_generation integer,
    live_sha256 text,
    live_bytes bigint,
    collection_id integer REFERENCES collections,
    live_collection_id integer REFERENCES collections,
    state text NOT NULL CHECK (state IN
        ('received', 'stored', 'parsed', 'chunked', 'embedded', 'indexed', 'ready', 'failed', 'deleting')),
    reason_code text,
    reason text,
    deleted_by uuid REFERENCES users ON DELETE SET NULL,
    removed_vectors integer,
    lease_owner text,
    lease_until timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    retry_at timestamptz,
    seq bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((lease_owner IS NULL) = (lease_until IS NULL)),
    CHECK (state <> 'failed' OR reason IS NOT NULL)
);
CREATE UNIQUE INDEX documents_path ON documents (base_id, path) WHERE state <> 'deleting';
CREATE INDEX documents_work ON documents (state, seq) WHERE state NOT IN ('ready', 'failed');
CREATE INDEX documents_sha256 ON documents (sha256);
CREATE INDEX documents_live_sha256 ON documents (live_sha256);
CREATE INDEX documents_base ON documents (base_id, seq);
CREATE INDEX documents_newer ON documents (id) WHERE generation > 1;
CREATE TABLE chunks (
    id uuid PRIMARY KEY,
    document_id uuid NOT NULL REFERENCES documents ON DELETE CASCADE,
    generation integer NOT NULL,
    ordinal integer NOT NULL,
    text text NOT NULL,
    page integer,
    start integer NOT NULL,
    "end" integer NOT NULL,
    heading text NOT NULL DEFAULT '',
    UNIQUE (document_id, generation, ordinal)
);
CREATE TABLE file_removals (
    sha256 text PRIMARY KEY,
    requested_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE deletions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    document_id uuid NOT NULL,
    base_id uuid NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL,
    chunks integer NOT NULL,
    vectors integer NOT NULL,
    file_removed boolean NOT NULL,
    requested_by uuid,
    deleted_at timestamptz NOT NULL DEFAULT now()
);
"""

CONVERSATIONS = """
CREATE TABLE conversations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    base_id uuid REFERENCES bases ON DELETE SET NULL,
    title text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX conversations_user ON conversations (user_id, updated_at DESC);
CREATE TABLE messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation_id uuid NOT NULL REFERENCES conversations ON DELETE CASCADE,
    role text NOT NULL CHECK (role IN ('user', 'assistant')),
    content text NOT NULL,
    found boolean,
    sources jsonb NOT NULL DEFAULT '[]',
    model text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX messages_conversation ON messages (conversation_id, id);
"""

# What may be served: chunks of the generation that is live, of documents nobody has deleted.
VISIBLE = """
CREATE VIEW visible_chunks AS
SELECT c.id AS chunk_id, c.document_id, d.base_id, c.generation, c.ordinal, c.text, c.page, c.start, c."end",
       c.heading, d.name, d.path, d.live_collection_id AS collection_id
FROM chunks c JOIN documents d ON d.id = c.document_id AND d.live_generation = c.generation
WHERE d.state <> 'deleting';
"""

BACKUP = """
CREATE VIEW backup_files AS
SELECT substr(sha256, 1, 2) || '/' || sha256 AS path, sha256, max(bytes) AS bytes
FROM (
    SELECT sha256, bytes FROM documents WHERE state NOT IN ('received', 'deleting')
    UNION ALL
    SELECT live_sha256, live_bytes FROM documents WHERE state <> 'deleting' AND live_sha256 IS NOT NULL
) AS content GROUP BY sha256;

CREATE VIEW backup_collections AS
SELECT name, dimension, model, model_digest, prefixes FROM collections
WHERE active OR id IN (SELECT live_collection_id FROM documents WHERE state <> 'deleting');

CREATE VIEW backup_chunks AS
SELECT v.chunk_id::text AS chunk_id, k.name AS collection
FROM visible_chunks v JOIN collections k ON k.id = v.collection_id;

CREATE VIEW backup_documents AS
SELECT id::text AS document_id, name, sha256, state FROM documents;

CREATE VIEW backup_counts AS
SELECT 'users' AS name, count(*) AS value FROM users
UNION ALL SELECT 'bases', count(*) FROM bases
UNION ALL SELECT 'documents', count(*) FROM documents WHERE state <> 'deleting'
UNION ALL SELECT 'documents_ready', count(*) FROM documents WHERE state = 'ready'
UNION ALL SELECT 'chunks', count(*) FROM visible_chunks
UNION ALL SELECT 'conversations', count(*) FROM conversations
UNION ALL SELECT 'messages', count(*) FROM messages;
"""


def upgrade() -> None:
    """Create everything; statements run in alembic's one transaction."""
    for part in (ACCOUNTS, DOCUMENTS, CONVERSATIONS, VISIBLE, BACKUP):
        op.execute(part)

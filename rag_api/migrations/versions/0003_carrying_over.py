"""What a restore asks and may change: who may sign in, what was deleted, and taking up what was added since a set."""

from alembic import op

revision = "0003"
down_revision = "0002"

ACCOUNTS = """
CREATE VIEW backup_accounts AS SELECT id::text AS id, email, is_admin, active FROM users;
"""

# The last administrator who may sign in stays: otherwise nobody could let anybody in again.
REVOKE = """
CREATE OR REPLACE FUNCTION backup_revoke(kind text, id text, revoked_at timestamptz) RETURNS boolean LANGUAGE sql
BEGIN ATOMIC
    WITH wanted AS (
        SELECT $1 AS kind, CASE WHEN pg_input_is_valid($2, 'uuid') THEN $2::uuid END AS id
    ), keys AS (
        UPDATE api_keys SET revoked_at = coalesce($3, now()) FROM wanted
        WHERE wanted.kind = 'api_key' AND api_keys.id = wanted.id AND api_keys.revoked_at IS NULL RETURNING 1
    ), accounts AS (
        UPDATE users SET active = false FROM wanted
        WHERE wanted.kind = 'account' AND users.id = wanted.id AND users.active
          AND (NOT users.is_admin OR EXISTS (
              SELECT FROM users other WHERE other.is_admin AND other.active AND other.id <> users.id))
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM keys) OR EXISTS (SELECT FROM accounts);
END;
"""

DELETIONS = """
CREATE VIEW backup_deletions AS
SELECT document_id::text AS document_id, name, sha256, deleted_at FROM deletions
UNION ALL SELECT id::text, name, sha256, updated_at FROM documents WHERE state = 'deleting';

CREATE FUNCTION backup_delete(document_id text) RETURNS boolean LANGUAGE sql
BEGIN ATOMIC
    WITH gone AS (
        UPDATE documents SET state = 'deleting', lease_owner = NULL, lease_until = NULL, retry_at = NULL,
            updated_at = now()
        WHERE id = CASE WHEN pg_input_is_valid($1, 'uuid') THEN $1::uuid END AND state <> 'deleting' RETURNING 1
    )
    SELECT EXISTS (SELECT FROM gone);
END;
"""

# Everything another database of this service needs in order to take these up; in an order in which it can.
ADDITIONS = """
CREATE VIEW backup_additions AS
SELECT 1 AS rank, 'account' AS kind, id::text AS id, email AS mark, to_jsonb(u) AS body FROM users u
UNION ALL SELECT 2, 'base', b.id::text, b.name,
    to_jsonb(b) || jsonb_build_object('owner', u.email) FROM bases b JOIN users u ON u.id = b.owner_id
UNION ALL SELECT 3, 'member', m.base_id::text || ' ' || u.email, m.role,
    jsonb_build_object('base_id', m.base_id, 'email', u.email, 'role', m.role, 'created_at', m.created_at)
    FROM members m JOIN users u ON u.id = m.user_id
UNION ALL SELECT 4, 'api_key', k.id::text, k.prefix, to_jsonb(k) - 'key_hash'
    || jsonb_build_object('key_hash', encode(k.key_hash, 'hex'), 'email', u.email)
    FROM api_keys k JOIN users u ON u.id = k.user_id
UNION ALL SELECT 5, 'document', d.id::text, d.sha256, jsonb_build_object(
    'id', d.id, 'base_id', d.base_id, 'base', b.name, 'personal', b.personal, 'owner', o.email,
    'created_by', c.email, 'path', d.path, 'name', d.name, 'sha256', d.sha256, 'bytes', d.bytes,
    'created_at', d.created_at)
    FROM documents d JOIN bases b ON b.id = d.base_id JOIN users o ON o.id = b.owner_id
    LEFT JOIN users c ON c.id = d.created_by
    WHERE d.state NOT IN ('received', 'deleting');
"""

# `added`, `newer` (its next generation), `same`, or `nowhere`: no base that it could belong to. A document comes back
# as it was uploaded; the ingest process derives the rest. The caller has put its file in place before it commits.
ADOPT = """
CREATE FUNCTION backup_adopt(kind text, body jsonb) RETURNS text LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    holder uuid;
    base uuid;
    known documents%ROWTYPE;
BEGIN
    IF kind = 'account' THEN
        INSERT INTO users SELECT * FROM jsonb_populate_record(NULL::users, body) ON CONFLICT DO NOTHING;
        RETURN CASE WHEN FOUND THEN 'added' ELSE 'same' END;
    ELSIF kind = 'base' THEN
        SELECT id INTO holder FROM users WHERE email = body->>'owner';
        INSERT INTO bases (id, name, owner_id, personal, created_at)
        SELECT (body->>'id')::uuid, body->>'name', holder, (body->>'personal')::boolean,
               (body->>'created_at')::timestamptz
        WHERE holder IS NOT NULL ON CONFLICT DO NOTHING;
        RETURN CASE WHEN FOUND THEN 'added' ELSE 'same' END;
    ELSIF kind = 'member' THEN
        INSERT INTO members (base_id, user_id, role, created_at)
        SELECT b.id, u.id, body->>'role', (body->>'created_at')::timestamptz FROM bases b, users u
        WHERE b.id = (body->>'base_id')::uuid AND u.email = body->>'email' ON CONFLICT DO NOTHING;
        RETURN CASE WHEN FOUND THEN 'added' ELSE 'same' END;
    ELSIF kind = 'api_key' THEN
        INSERT INTO api_keys (id, user_id, name, prefix, key_hash, created_at, last_used_at, revoked_at)
        SELECT (body->>'id')::uuid, u.id, body->>'name', body->>'prefix', decode(body->>'key_hash', 'hex'),
               (body->>'created_at')::timestamptz, (body->>'last_used_at')::timestamptz,
               (body->>'revoked_at')::timestamptz
        FROM users u WHERE u.email = body->>'email' ON CONFLICT DO NOTHING;
        RETURN CASE WHEN FOUND THEN 'added' ELSE 'same' END;
    ELSIF kind <> 'document' THEN
        RAISE EXCEPTION 'backup_adopt: unknown kind %', kind;
    END IF;

    SELECT id INTO holder FROM users WHERE email = body->>'owner';
    SELECT id INTO base FROM bases WHERE id = (body->>'base_id')::uuid;
    IF base IS NULL THEN
        SELECT id INTO base FROM bases b WHERE b.owner_id = holder
            AND (b.personal AND (body->>'personal')::boolean OR b.name = body->>'base') ORDER BY personal DESC LIMIT 1;
    END IF;
    IF base IS NULL THEN
        RETURN 'nowhere';
    END IF;
    SELECT * INTO known FROM documents d WHERE d.state <> 'deleting'
        AND (d.id = (body->>'id')::uuid OR d.base_id = base AND d.path = body->>'path')
        ORDER BY d.base_id = base AND d.path = body->>'path' DESC LIMIT 1 FOR UPDATE;
    IF known.id IS NULL THEN
        INSERT INTO documents (id, base_id, created_by, path, name, sha256, bytes, state, created_at)
        SELECT CASE WHEN EXISTS (SELECT FROM documents d WHERE d.id = (body->>'id')::uuid) THEN gen_random_uuid()
                    ELSE (body->>'id')::uuid END,
               base, (SELECT id FROM users WHERE email = body->>'created_by'), body->>'path', body->>'name',
               body->>'sha256', (body->>'bytes')::bigint, 'stored', (body->>'created_at')::timestamptz;
        RETURN 'added';
    ELSIF known.sha256 = body->>'sha256' THEN
        RETURN 'same';
    END IF;
    IF known.sha256 IS DISTINCT FROM known.live_sha256 THEN
        INSERT INTO file_removals (sha256) VALUES (known.sha256) ON CONFLICT DO NOTHING;
    END IF;
    UPDATE documents SET sha256 = body->>'sha256', bytes = (body->>'bytes')::bigint, generation = generation + 1,
        state = 'stored', reason = NULL, reason_code = NULL, attempts = 0, retry_at = NULL, lease_owner = NULL,
        lease_until = NULL, pages = NULL, chunk_count = NULL, updated_at = now() WHERE id = known.id;
    RETURN 'newer';
END $$;
"""


def upgrade() -> None:
    """Add views and functions; of what exists only `backup_revoke` changes."""
    for part in (ACCOUNTS, REVOKE, DELETIONS, ADDITIONS, ADOPT):
        op.execute(part)

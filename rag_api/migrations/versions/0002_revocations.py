"""What a restore of an older backup set must take away again: revoked API keys and accounts switched off."""

from alembic import op

revision = "0002"
down_revision = "0001"

# Nobody writes down when an account is switched off, so it counts as switched off now.
VIEW = """
CREATE VIEW backup_revocations AS
SELECT 'api_key'::text AS kind, id::text AS id, revoked_at FROM api_keys WHERE revoked_at IS NOT NULL
UNION ALL SELECT 'account', id::text, now() FROM users WHERE NOT active;
"""

# With a body that is bound to its tables when it is made, the function does not depend on the caller's search_path.
FUNCTION = """
CREATE FUNCTION backup_revoke(kind text, id text, revoked_at timestamptz) RETURNS boolean LANGUAGE sql
BEGIN ATOMIC
    WITH wanted AS (
        SELECT $1 AS kind, CASE WHEN pg_input_is_valid($2, 'uuid') THEN $2::uuid END AS id
    ), keys AS (
        UPDATE api_keys SET revoked_at = coalesce($3, now()) FROM wanted
        WHERE wanted.kind = 'api_key' AND api_keys.id = wanted.id AND api_keys.revoked_at IS NULL RETURNING 1
    ), accounts AS (
        UPDATE users SET active = false FROM wanted
        WHERE wanted.kind = 'account' AND users.id = wanted.id AND users.active RETURNING 1
    )
    SELECT EXISTS (SELECT FROM keys) OR EXISTS (SELECT FROM accounts);
END;
"""


def upgrade() -> None:
    """Add a view and a function; nothing that exists is changed."""
    op.execute(VIEW)
    op.execute(FUNCTION)

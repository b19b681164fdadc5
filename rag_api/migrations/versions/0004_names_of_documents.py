"""What people call a document: a backup keeps its knowledge base and path beside its content's checksum."""

from alembic import op

revision = "0004"
down_revision = "0003"

# Columns may only be added at the end of a view that exists. Personal bases are all called alike.
VIEW = """
CREATE OR REPLACE VIEW backup_documents AS
SELECT d.id::text AS document_id, d.name, d.sha256, d.state, d.path,
       b.name || CASE WHEN b.personal THEN ' (' || u.email || ')' ELSE '' END AS base, d.live_sha256
FROM documents d JOIN bases b ON b.id = d.base_id JOIN users u ON u.id = b.owner_id;
"""


def upgrade() -> None:
    """Add columns to a view; nothing that exists is changed."""
    op.execute(VIEW)

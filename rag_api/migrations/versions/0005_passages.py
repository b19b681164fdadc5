"""What a backup makes a drill's questions of: the passages that are served, with their documents."""

from alembic import op

revision = "0005"
down_revision = "0004"
# The code of 0004 works with it too.
expands = True

VIEW = """
CREATE VIEW backup_passages AS
SELECT v.document_id::text AS document_id, v.ordinal, v.text
FROM visible_chunks v JOIN documents d ON d.id = v.document_id
WHERE d.state = 'ready';
"""


def upgrade() -> None:
    """Create a view; nothing that exists is changed."""
    op.execute(VIEW)

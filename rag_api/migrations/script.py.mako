"""${message}"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
# True when the code of the revision before still works with what this leaves.
expands = False


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}

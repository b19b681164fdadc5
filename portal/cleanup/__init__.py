"""What nobody needs any more and takes room: shown first, then removed."""

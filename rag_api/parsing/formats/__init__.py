"""One reader a format; each takes a path, the name to speak of, and limits, and gives a ParsedDocument."""

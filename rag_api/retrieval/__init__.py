"""Finding passages: by words (tantivy), by meaning (Chroma), fused, and joined to Postgres before they are served."""

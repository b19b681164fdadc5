"""What a backup set is made of, one module a source: documents, vectors, models, postgres, config."""

"""Schema of the RAG database, applied by `python -m rag_api migrate`."""

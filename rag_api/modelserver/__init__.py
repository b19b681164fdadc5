"""A model server that speaks Ollama's HTTP API, for machines without Ollama.

Models come from installed packages and live in Ollama's own store layout, so that a backup of the store, the
official client, and a later move to Ollama itself all work unchanged. Each loaded model runs in a process of its
own: unloading gives all memory back, and a crash of native code never takes the server with it.
"""

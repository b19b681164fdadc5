"""The same service for programs that speak OpenAI's API, below /v1/; nothing asked there is kept."""

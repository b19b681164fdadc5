"""HTTP routes: each translates and makes one domain call."""

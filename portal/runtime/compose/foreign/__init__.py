"""Compose projects that are not the product's own: described by somebody else, run as they stand."""

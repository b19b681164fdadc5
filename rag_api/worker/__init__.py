"""The ingest process: takes documents from `stored` to `ready`, and those that go, away.

Postgres is the queue. Every stage claims documents in its state under a lease, does its work, and moves them on in
one transaction that still holds the lease; whoever is killed anywhere loses nothing, the next one claims again.
"""

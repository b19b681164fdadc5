"""Programs that prepare a server's data or configuration and then become that server.

Each reads the same environment as the service's container image does, already translated to this host.
"""

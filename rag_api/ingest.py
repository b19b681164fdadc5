"""`python -m rag_api.ingest`: the one process that writes vectors and the word index, and removes files."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys

from rag_api.allocator import limit_arenas
from rag_api.logs import setup_logging
from rag_api.secret import WeakSecretError
from rag_api.services import open_services
from rag_api.settings import Settings, SettingsError, load_settings
from rag_api.worker.health import start_health_server
from rag_api.worker.process import CONNECTIONS, IngestProcess, LockLostError

log = logging.getLogger(__name__)


def main(argv: list[str]) -> int:
    """Run until SIGTERM; returns 0 then, 1 when the database went away, 2 for wrong settings."""
    parser = argparse.ArgumentParser(prog="python -m rag_api.ingest", description="Ingests uploaded documents.")
    parser.add_argument("--health-host", default="127.0.0.1")
    parser.add_argument("--health-port", type=int, required=True)
    options = parser.parse_args(argv)
    try:
        settings = load_settings(os.environ)
    except (SettingsError, WeakSecretError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    setup_logging(settings.log_level)
    limit_arenas()
    return _serve(settings, options.health_host, options.health_port)


def _serve(settings: Settings, host: str, port: int) -> int:
    services = open_services(settings, name="ingest", connections=CONNECTIONS)
    process = IngestProcess(services)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: process.stop())
    server = start_health_server(host, port, process.report)
    try:
        process.run()
    except LockLostError as error:
        log.error("%s", error)
        return 1
    finally:
        server.shutdown()
        services.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

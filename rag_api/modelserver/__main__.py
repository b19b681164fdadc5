"""`python -m rag_api.modelserver --store DIR --host H --port N`.

Imports stay inside `main`: the process of every loaded model imports this module again.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m rag_api.modelserver", description=__doc__)
    parser.add_argument("--store", type=Path, required=True, help="folder of the models, created when missing")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=11434, help="port to listen on (default %(default)s)")
    parser.add_argument("--max-queue", type=int, default=64, help="waiting requests of a model (default %(default)s)")
    chosen = parser.parse_args()

    import uvicorn

    from rag_api.modelserver.app import create_app

    app = create_app(chosen.store, max_queue=chosen.max_queue)
    # The pipes to the models need asyncio's own loop: uvloop makes watched descriptors non-blocking.
    uvicorn.run(app, host=chosen.host, port=chosen.port, loop="asyncio", access_log=False, timeout_graceful_shutdown=3)


if __name__ == "__main__":
    main()

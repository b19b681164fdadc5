#!/usr/bin/env python3
"""The one entry point of Ragkeep: `python3 manage.py up` on a bare machine, every other verb afterwards."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this line is what an older Python gets to read
    sys.exit("Ragkeep needs Python 3.11 or later. Install a newer python3, or name it: python3.12 manage.py up")

if __name__ == "__main__":
    from config import bootstrap

    sys.exit(bootstrap.main(sys.argv[1:]))

"""`python -m ringipc` is the command `ringipc`."""

import sys

from .cli import main

if __name__ == "__main__":  # the demo's child processes import this module too
    sys.exit(main())

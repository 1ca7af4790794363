"""`python -m detr_diff` is the command `detr-diff`."""

import sys

from detr_diff.cli import main

if __name__ == "__main__":
    sys.exit(main())

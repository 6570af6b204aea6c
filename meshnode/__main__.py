"""``python -m meshnode`` is the ``meshnode`` command."""

import sys

from meshnode.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

"""
`python -m antichain` is the command `antichain`.
"""

import sys

from antichain.cli import main

if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: LGPL-2.1-only
"""`python -m relvm`, and `python relvm/__main__.py` where Python has no -m for packages."""

import os
import sys

if __name__ == '__main__':
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # the directory of this file would offer relvm's modules as top-level ones
    sys.path = [place for place in sys.path if os.path.abspath(place) != os.path.dirname(os.path.abspath(__file__))]
    from relvm import cli
    sys.exit(cli.main(sys.argv[1:]))

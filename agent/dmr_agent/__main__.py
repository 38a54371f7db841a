"""`python -m dmr_agent` is `dmr-agent`."""

import sys

from dmr_agent.cli import main

if __name__ == "__main__":
    sys.exit(main())

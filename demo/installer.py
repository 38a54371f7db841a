"""An Instance's installer and undo command: `python -m demo.installer DIR`, with a manifest on standard input.

It replaces DIR/release.json. `null`, which undo gets where no release is known, is the first release.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from demo import release


def main() -> int:
    wanted = json.load(sys.stdin) or release.FIRST
    release.install(Path(sys.argv[1]), wanted)
    print(f"installed {wanted['version']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python
"""Django's command line for DMR."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dmr_project.settings")
    from django.core.management import execute_from_command_line

    from dmr_project.lib import origin

    with origin.of(origin.command_line()):
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()

"""How our processes hang together, and what each needs before anything else."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
METRICS_KINDS = ("counter", "histogram", "gauge_all", "gauge_livesum")
MOST_FILES = 65_536  # open at once; a worker keeps a connection to each recipient that it has just delivered to
METRICS_BYTES = 1024 * 1024  # of each file, as prometheus_client makes them
METRICS_HEAD = 8  # bytes that each has at least


def die_with_parent() -> None:
    """Asks Linux to send us SIGTERM when our parent dies; elsewhere the parent alone sees to it."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died in between
        os.kill(os.getpid(), signal.SIGTERM)


def allow_many_files() -> None:
    """Raises what this process, and those it starts, may have open, as far as the system lets it.

    What it grants unasked is 1,024 as a rule: too few for a message to a room of some thousands.
    """
    given, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if most == resource.RLIM_INFINITY else min(most, MOST_FILES)
    if given != resource.RLIM_INFINITY and given < wanted:
        with contextlib.suppress(OSError, ValueError):  # not every system means what it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def reserve_metrics() -> None:
    """Takes the room that this process's metrics need. Call it before any metric is declared.

    They are written through memory maps of files with holes, and a hole that cannot be filled because the disk is
    full kills the process (SIGBUS). Where there is no room, this process counts in memory, for itself.
    """
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder or not hasattr(os, "posix_fallocate"):
        return
    shrink_metrics_of_the_dead(folder)
    paths = [os.path.join(folder, f"{kind}_{os.getpid()}.db") for kind in METRICS_KINDS]
    try:
        for path in paths:
            with open(path, "ab") as file:
                os.posix_fallocate(file.fileno(), 0, METRICS_BYTES)
    except OSError as error:
        for path in paths:
            with contextlib.suppress(OSError):
                os.unlink(path)
        del os.environ["PROMETHEUS_MULTIPROC_DIR"]
        print(f"The metrics of process {os.getpid()} stay in memory: {error.strerror}", file=sys.stderr)


def shrink_metrics_of_the_dead(folder: str) -> None:
    """What processes that have ended counted stays, but not the room that they had reserved.

    So a process that dies again and again does not fill the disk.
    """
    for entry in os.scandir(folder):
        pid = entry.name.removesuffix(".db").rpartition("_")[2]
        if not pid.isdigit() or is_running(int(pid)):
            continue
        with contextlib.suppress(OSError):  # somebody has removed it, or there is no room: it is tried again
            with open(entry.path, "rb") as file:
                used = int.from_bytes(file.read(4), sys.byteorder)  # as prometheus_client writes it
            os.truncate(entry.path, min(max(used, METRICS_HEAD), entry.stat().st_size))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's has got the number since
        return True
    return True


def set_start_apart() -> None:
    """Call it when all is loaded: from here on the garbage collector passes by what the start has made.

    It is never garbage, and to look through it stops every thread for a tenth of a second, in the midst of whatever.
    """
    gc.collect()
    gc.freeze()

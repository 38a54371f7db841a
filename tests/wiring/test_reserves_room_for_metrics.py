"""The files of a process's metrics have no holes: one that cannot be filled on a full disk would kill the process."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from dmr_project import processes
from tests.integration.product import Product


def test_files_are_there_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    processes.reserve_metrics()
    made = {path.name: path.stat() for path in tmp_path.iterdir()}
    assert set(made) == {f"{kind}_{os.getpid()}.db" for kind in processes.METRICS_KINDS}
    for each in made.values():
        assert each.st_size == processes.METRICS_BYTES
        assert each.st_blocks * 512 >= each.st_size


def test_a_process_that_has_ended_keeps_its_counts_and_not_its_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(30)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with monkeypatch.context() as there:
        there.setattr(os, "getpid", lambda: ended.pid)
        processes.reserve_metrics()
    counted = MmapedDict(str(tmp_path / f"counter_{ended.pid}.db"))
    for number in range(500):  # more than a page of it
        counted.write_value(mmap_key("dmr_tests_total", "dmr_tests_total", ["n"], [str(number)], "help"), 3.0, 0.0)
    counted.close()
    processes.reserve_metrics()
    left = {path.name: path.stat().st_size for path in tmp_path.iterdir() if str(ended.pid) in path.name}
    assert len(left) == len(processes.METRICS_KINDS)
    assert sum(left.values()) < 100_000, left
    (found,) = MultiProcessCollector(CollectorRegistry(), str(tmp_path)).collect()
    assert [sample.value for sample in found.samples] == [3.0] * 500


def test_without_room_the_process_counts_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", fail)
    processes.reserve_metrics()
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ
    assert list(tmp_path.iterdir()) == []
    assert "stay in memory: No space left" in capsys.readouterr().err


def test_the_product_makes_no_others(product: Product) -> None:
    """Whatever kind of metric it has, the file for it was reserved."""
    files = list((product.data_dir / "metrics").iterdir())
    assert files
    for path in files:
        assert path.stat().st_blocks * 512 >= processes.METRICS_BYTES, path.name

"""The files of a process's metrics have no holes: one that cannot be filled on a full disk would kill the process."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

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

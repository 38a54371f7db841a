"""The product as a user starts it, in a process of its own, and what a test asks of it over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from prometheus_client.parser import text_string_to_metric_families

from tests.integration import databases
from tests.servers import dies_with_us, free_port

ROOT = Path(__file__).resolve().parent.parent.parent
STAFF_KEY = "staff-key-of-the-product"
START_SECONDS = 60
FINAL = ("delivered", "expired", "dead")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Participant:
    name: str
    key: str
    id: str


def wait_until(happened: Callable[[], Value], seconds: float, what: str = "") -> Value:
    """The first true value of `happened()`; fails the test where there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = happened()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or happened}; it is {value!r}")
        time.sleep(0.03)


def call(
    url: str, method: str = "GET", body: bytes = b"", headers: dict[str, str] | None = None, timeout: float = 30
) -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body=body or None, headers=headers or {})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


@dataclass
class Product:
    """`python -m dmr_project.server` with a data folder, a port and an environment."""

    folder: Path
    environment: dict[str, str]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    start_seconds: float = 0.0  # that the last start took until all was ready: what this machine makes of it just now

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def full_environment(self) -> dict[str, str]:
        ours = ("DMR_", "DATABASE_URL", "REDIS_URL", "PROMETHEUS_", "DJANGO_", "TEST_", "PYTEST_", "COV_")
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
            "DMR_DATA_DIR": str(self.data_dir),
            "DMR_PORT": str(self.port),
            "DMR_ADMIN_API_KEY": STAFF_KEY,
            "DMR_ADMIN_PASSWORD": "only-for-tests-0123456789",
            **self.environment,
        }

    @property
    def output(self) -> str:
        """All that its processes have written to the terminal."""
        written = self.folder / "output"
        return written.read_text(errors="replace") if written.exists() else ""

    # -- starting and stopping --

    def launch(self) -> None:
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dmr_project.server"],
                cwd=ROOT,
                env=self.full_environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dies_with_us(signal.SIGTERM),
            )

    def start(self) -> None:
        began = time.monotonic()
        self.launch()
        self.wait_ready()
        self.start_seconds = time.monotonic() - began

    def wait_ready(self) -> None:
        said = ""

        def is_ready() -> bool:
            nonlocal said
            assert self.process is not None
            assert self.process.poll() is None, f"it ended: {self.output}"
            try:
                answer = call(f"{self.url}/readyz", timeout=5)
                said = answer.body.decode()
            except (OSError, http.client.HTTPException) as error:
                said = repr(error)
                return False
            return answer.status == 200

        try:
            wait_until(is_ready, START_SECONDS, "the product is ready")
        except AssertionError as late:
            raise AssertionError(f"{late}; /readyz: {said}; output: {self.output}") from None
        wait_until(lambda: self.pid("worker") and self.pid("beat"), START_SECONDS, "worker and beat run")

    def stop(self) -> float:
        """SIGTERM; returns how many seconds it took to end."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        return time.monotonic() - began

    def end(self) -> None:
        """Whatever a test did to it: nothing of it is left."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(12)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def run(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """A Python program with the product's environment, such as `manage.py migrate`."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.full_environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def shell(self, code: str) -> str:
        """Runs code in `manage.py shell`, for what has no address: rooms, revoking keys."""
        done = self.run("manage.py", "shell", "--verbosity", "0", "--command", code)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # -- its processes --

    def processes(self) -> dict[int, str]:
        """Every process with our data folder in its environment: the whole family, orphans too. pid -> command."""
        mark = f"DMR_DATA_DIR={self.data_dir}".encode()
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[int(folder.name)] = command
        return found

    def pid(self, name: str) -> int:
        """Of a child of the supervisor, `web`, `worker` or `beat`; 0 where it does not run."""
        assert self.process is not None
        words = {"web": ("granian",), "worker": ("celery", " worker "), "beat": ("celery", " beat ")}[name]
        for pid, command in self.processes().items():
            if parent_of(pid) == self.process.pid and all(word in command for word in words):
                return pid
        return 0

    def web_processes(self) -> set[int]:
        """Those of the web server that serve: children of its master."""
        master = self.pid("web")
        return {pid for pid in self.processes() if master and parent_of(pid) == master}

    def kill(self, name: str, *, group: bool = False) -> int:
        """Kills a child with -9, with all that it started where `group`. Returns its pid."""
        pid = self.pid(name)
        assert pid, f"{name} does not run: {self.processes()}"
        if group:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
        return pid

    def kill_and_see_it_back(self, name: str, seconds: float = 5) -> None:
        old = self.kill(name)
        wait_until(lambda: self.pid(name) not in (0, old), seconds, f"{name} is back")

    @contextlib.contextmanager
    def another_worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """A second one beside the supervisor's, on the same database and broker."""
        from dmr_project.server import children  # names Django's settings, which pytest's workers may not inherit

        (worker,) = (each for each in children("127.0.0.1", self.port) if each.name == "worker")
        environment = {**self.full_environment, "PROMETHEUS_MULTIPROC_DIR": str(self.data_dir / "metrics")}
        with (self.folder / "output").open("ab") as output:
            process = subprocess.Popen(
                worker.command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)

    def lose_the_broker(self) -> None:
        """All that waits in the broker is gone: its folder, or with Redis everything in it."""
        redis_url = self.environment.get("REDIS_URL")
        if redis_url:
            import redis

            with redis.Redis.from_url(redis_url) as broker:
                broker.flushdb()
        else:
            for name in ("broker", "cache"):  # while the product writes there, some of it may be left
                shutil.rmtree(self.data_dir / name, ignore_errors=True)

    # -- the registry --

    def call(self, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return call(f"{self.url}{path}", method, body, named)

    def register(self, host: str, *, name: str = "", type: str = "Chatbot") -> Participant:
        """A new participant of a new institution, over the registry API."""
        made = self.call(
            "/centops/admin/institutions",
            "POST",
            json.dumps({"name": f"office {uuid.uuid4().hex[:12]}", "status": "Active"}).encode(),
            X_Api_Key=STAFF_KEY,
        )
        assert made.status == 201, made
        fields = {
            "name": name or f"bot-{uuid.uuid4().hex[:12]}",
            "institutionId": made.json()["id"],
            "host": host,
            "type": type,
            "status": "Active",
        }
        made = self.call("/centops/admin/participants", "POST", json.dumps(fields).encode(), X_Api_Key=STAFF_KEY)
        assert made.status == 201, made
        return Participant(fields["name"], made.json()["apiKey"], made.json()["id"])

    # -- the relay --

    def post(
        self,
        sender: Participant,
        send_to: str,
        body: bytes = b"payload",
        *,
        message_id: str = "",
        key: str = "",
        **headers: str,
    ) -> Answer:
        """POST /messages. `headers` as X_Message_Id_Ref="…"; those we set can be overwritten."""
        known = {
            "X_Api_Key": key or sender.key,
            "X_Sent_By": sender.name,
            "X_Send_To": send_to,
            "X_Message_Id": message_id or str(uuid.uuid4()),
            **headers,
        }
        return self.call("/messages", "POST", body, **known)

    def send(self, sender: Participant, send_to: str, body: bytes = b"payload", **headers: str) -> str:
        """A message that is accepted; returns its id."""
        answer = self.post(sender, send_to, body, **headers)
        assert answer.status == 202, answer
        written: str = answer.json()["messageId"]
        return written

    def status_of(self, caller: Participant, message_id: str) -> Any:
        answer = self.call(f"/messages/{quote(message_id)}", X_Api_Key=caller.key)
        assert answer.status == 200, answer
        return answer.json()

    def wait_for_end(self, caller: Participant, message_id: str, seconds: float = 10) -> Any:
        """The message's status once it is delivered, expired or dead."""

        def ended() -> Any:
            status = self.status_of(caller, message_id)
            return status if status["state"] in FINAL else None

        return wait_until(ended, seconds, f"message {message_id} ends")

    def metric(self, name: str, **labels: str) -> float:
        """The value of a sample of /metrics, added up over the labels that are not given; 0 where there is none."""
        text = self.call("/metrics").body.decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def is_running(pid: int) -> bool:
    """Is it there, and not a child that waits to be buried?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def local_ports(pid: int) -> set[int]:
    """Our ends of the TCP connections of a process."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(os.readlink(descriptor))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in sockets}


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@contextlib.contextmanager
def a_product(
    folder: Path, environment: dict[str, str] | None = None, *, start: bool = True, migrated: bool = True
) -> Iterator[Product]:
    """Started unless told otherwise; `migrated`: what is started finds its tables made, which is half of a start."""
    with databases.of_its_own(migrated=start and migrated) as servers:
        product = Product(folder, {**servers, **(environment or {})})
        try:
            if start:
                if migrated and not servers:
                    databases.copy_migrated(product.data_dir)
                product.start()
            yield product
        finally:
            product.end()

"""Where and as what the demonstration runs, from the environment that the product reads too."""

from __future__ import annotations

import fcntl
import os
import random
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from demo.children import ROOT
from demo.errors import DemoError

# Below what systems give to outgoing connections, so that a stopped bot finds its port free again.
PORTS = range(20000, 32000)

# Agents come, and are missed, within seconds: production's half a minute would make the story long.
PACE = {"DMR_CHECK_IN_SECONDS": "3", "DMR_CHECK_IN_GRACE_SECONDS": "5"}


@dataclass(frozen=True)
class Place:
    """`data` is the product's data folder, `folder` the demonstration's own in it."""

    data: Path
    host: str  # on which the product listens
    port: int
    is_once: bool
    environment: dict[str, str]  # of the product

    @property
    def folder(self) -> Path:
        return self.data / "demo"

    @property
    def url(self) -> str:
        """Under which everything here reaches the product."""
        known = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
        return f"http://{known.get(self.host, f'[{self.host}]' if ':' in self.host else self.host)}:{self.port}"

    @property
    def staff_key(self) -> str:
        return self.environment["DMR_ADMIN_API_KEY"]

    def bot_port(self, number: int) -> int:
        """For the bot of that number: near the product's where that can be, so that it is the same next time."""
        wanted = self.port + 1 + number
        return wanted if not self.is_once and wanted < 65536 and is_free("127.0.0.1", wanted) else free_port()


def find(temporary: Path | None) -> Place:
    """The place for this run; with a `temporary` folder all is in there, on free ports. Raises DemoError."""
    if given("DMR_ENV") not in ("", "development"):
        raise DemoError("The demonstration registers participants of its own: run it without DMR_ENV=production.")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DMR_ADMIN_API_KEY")}
    environment["DMR_ADMIN_API_KEY"] = given("DMR_ADMIN_API_KEY") or secrets.token_urlsafe(24)
    environment |= {name: value for name, value in PACE.items() if not given(name)}
    if temporary is None:
        data, port = Path(given("DMR_DATA_DIR") or "var"), given("DMR_PORT") or "8000"
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise DemoError(f"DMR_PORT: {port!r} is not a port; write a number from 1 to 65535.")
        number = int(port)
    else:
        data, number = temporary, free_port()
        for name in ("DMR_PORT_FILE", "DMR_DATA_DIR_FILE", "DMR_PUBLIC_URL", "DMR_PUBLIC_URL_FILE"):
            environment.pop(name, None)
        environment |= {"DMR_DATA_DIR": str(data), "DMR_PORT": str(number)}
    place = Place(ROOT / data, given("DMR_HOST") or "127.0.0.1", number, temporary is not None, environment)
    refuse_port_in_use(place.host, place.port)
    try:
        place.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        place.folder.mkdir(exist_ok=True, mode=0o700)
        own(place.folder)
    except OSError as error:
        raise DemoError(f"DMR_DATA_DIR: {place.folder} cannot be written: {error.strerror}") from error
    return place


def given(name: str) -> str:
    """A variable, or the contents of the file that `<name>_FILE` names. Raises DemoError."""
    path = os.environ.get(f"{name}_FILE", "")
    if not path:
        return os.environ.get(name, "")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DemoError(f"{name}_FILE cannot be read: {error}") from error


def own(folder: Path) -> None:
    """One demonstration a folder: kept until this process ends. Raises DemoError."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DemoError(
            f"Another demonstration runs in {folder}; stop it, or set DMR_DATA_DIR to another folder."
        ) from None


def write_secret(path: Path, text: str) -> None:
    """A file that only we read, there whole or not at all."""
    aside = path.with_name(f"{path.name}.new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{text}\n")
    aside.replace(path)


def refuse_port_in_use(host: str, port: int) -> None:
    reason = why_not_free(host, port)
    if reason:
        raise DemoError(
            f"Cannot listen on {host}:{port} ({reason}); stop what uses it, or set DMR_PORT to another port."
        )


def free_port() -> int:
    for _ in range(100):
        port = random.choice(PORTS)
        if is_free("127.0.0.1", port):
            return port
    raise DemoError("No free port was found between 20000 and 32000; stop what uses them.")


def is_free(host: str, port: int) -> bool:
    return not why_not_free(host, port)


def why_not_free(host: str, port: int) -> str:
    """Empty where we can listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    return ""

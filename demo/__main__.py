"""`script/demo`: plays the story on a network of real processes, then keeps it up. `--once`: plays, checks, ends."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from demo import interruption, login, place, story
from demo.errors import DemoError, Unexpected
from demo.http_call import Unreachable
from demo.login import Login
from demo.narration import Narration
from demo.network import Network
from demo.place import Place
from demo.product import LAST_LINES
from demo.scene import Scene


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="in a temporary folder and on free ports; exit 0 or 1")
    is_once = parser.parse_args().once
    narration = Narration.to_terminal()
    interruption.listen()
    try:
        with folder(is_once) as temporary:
            return run(place.find(temporary), narration)
    except interruption.Interrupted as interrupted:
        return end_interrupted(interrupted)
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Nobody reads on; what Python would still flush goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


@contextlib.contextmanager
def folder(is_once: bool) -> Iterator[Path | None]:
    if not is_once:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="dmr-demo-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def run(here: Place, narration: Narration) -> int:
    """Plays the story; then ends, or keeps the network up. Raises DemoError, Interrupted."""
    first = login.choose(here.folder)
    environment = {**here.environment, "DMR_ADMIN_USER": first.user, "DMR_ADMIN_PASSWORD": first.password}
    for name in ("DMR_ADMIN_USER_FILE", "DMR_ADMIN_PASSWORD_FILE"):
        environment.pop(name, None)
    here = replace(here, environment=environment)
    network = Network(here)
    try:
        went_well = play(network, narration)
        if here.is_once or not went_well:
            return 0 if went_well else 1
        invite(network, login.ensure(first, here), narration)
        network.keep_up(narration.line)
    except Unreachable as error:
        raise DemoError(f"The server stopped answering ({error}); its log is {network.product.child.log}.") from error
    finally:
        interruption.ignore()
        network.stop()


def play(network: Network, narration: Narration) -> bool:
    """False where something came out differently, which is then told."""
    narration.title("DMR: government chatbots that answer each other's questions. Every process here is real.")
    try:
        story.play(Scene(narration, network))
    except (Unexpected, Unreachable) as error:
        expected, seen = (
            (error.expected, error.seen) if isinstance(error, Unexpected) else ("an answer", f"none: {error}")
        )
        narration.line()
        narration.failure(f"Expected: {expected}")
        narration.failure(f"Seen:     {seen}")
        narration.line(f"The last lines of the server's log ({network.product.child.log}):")
        for line in network.product.child.last_lines(LAST_LINES):
            narration.line(f"  {line}")
        return False
    narration.line()
    narration.title(f"The story went as it should, in {narration.seconds:.0f} s.")
    return True


def invite(network: Network, found: Login, narration: Narration) -> None:
    """What to do with a network that stays up."""
    here, bot = network.place, network.instances["tax-board"].url
    public = (place.given("DMR_PUBLIC_URL") or here.url).rstrip("/")
    password = "the password from DMR_ADMIN_PASSWORD" if found.is_given else f"the password {found.password}"
    narration.line()
    narration.line(f"Admin:  {public}/admin/  as {found.user} with {password}")
    for person, does in ((network.core.author, "writes releases"), (network.core.approver, "approves them")):
        narration.line(f"        also as {person.name} with the password {person.login.password}, who {does}")
    if network.lost:
        narration.line(
            f"Fleet:  {public}/admin/observability/instance/  where {network.lost.name} is down, and stays so"
        )
    narration.line(f"Logs:   {here.folder}")
    narration.line("Ask the tax bot yourself, and look at the chat with the id that it gives you:")
    narration.line(f'        curl {bot}/ask -d \'{{"question": "I lost my passport. What must I do?"}}\'')
    narration.line(f"        curl {bot}/chats/ID")
    narration.line("Press Ctrl-C to stop.")


def end_interrupted(interrupted: interruption.Interrupted) -> int:
    print("\nStopped.", file=sys.stderr)
    return interrupted.exit_status


if __name__ == "__main__":
    sys.exit(main())

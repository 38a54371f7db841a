"""The command `dmr-agent`.

Exit codes: 0 done, or ended by SIGTERM; 1 it did not succeed (`once`: the server was away, or the offer was
refused, rolled back or failed); 2 wrong usage or configuration; 3 another agent uses state_dir; 4 the journal
can't be read or written.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from dmr_agent import __version__, config, keys, log, manifest, signatures
from dmr_agent.canonical import NotJson, loads
from dmr_agent.errors import AgentError
from dmr_agent.journal import Journal, Lock
from dmr_agent.loop import Loop
from dmr_agent.stop import Stop, Stopped


class InputUnusable(AgentError):
    """A file named on the command line can't be read, or holds something else."""


class NotEnoughSignatures(AgentError):
    """Fewer different trusted keys than asked for signed the manifest."""


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    log.start()
    try:
        return int(options.run(options))
    except AgentError as error:
        print(f"dmr-agent: {log.printable(str(error), 1000)}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dmr-agent", description="Keeps an Instance up to date.")
    parser.add_argument("--version", action="version", version=f"dmr-agent {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, does, run in (
        ("run", "check in until told to stop", _run),
        ("once", "check in once and carry an offer out to its end", _once),
    ):
        command = commands.add_parser(name, help=does, description=does)
        command.add_argument("--config", required=True, type=Path, metavar="FILE", help="see docs/agent.md")
        command.set_defaults(run=run)
    release = commands.add_parser("release", help="keys and signatures of releases, for staff, offline")
    actions = release.add_subparsers(required=True, metavar="ACTION")

    keygen = actions.add_parser("keygen", help="write a new key pair: FILE (secret) and FILE.pub")
    keygen.add_argument("--out", required=True, type=Path, metavar="FILE")
    keygen.set_defaults(run=_keygen)

    sign = actions.add_parser("sign", help='print {"keyId", "signature"} for a manifest')
    sign.add_argument("manifest", type=Path, metavar="MANIFEST")
    sign.add_argument("--key", required=True, type=Path, metavar="FILE")
    sign.set_defaults(run=_sign)

    verify = actions.add_parser("verify", help="check a manifest's signatures as an agent would")
    verify.add_argument("manifest", type=Path, metavar="MANIFEST")
    verify.add_argument("--signature", required=True, action="append", type=Path, metavar="FILE")
    verify.add_argument("--trusted-key", required=True, action="append", metavar="KEY")
    verify.add_argument("--threshold", type=int, default=config.LEAST_THRESHOLD, metavar="N")
    verify.set_defaults(run=_verify)
    return parser


def _run(options: argparse.Namespace) -> int:
    return _live(options.config, is_once=False)


def _once(options: argparse.Namespace) -> int:
    return _live(options.config, is_once=True)


def _live(path: Path, is_once: bool) -> int:
    stop = Stop()
    stop.listen()
    try:
        settings = config.load(path)
        lock = Lock(settings.state_dir)
        try:
            journal = Journal.load(settings.state_dir, settings.initial_manifest)
            journal.save()  # a state_dir that can't be written is better known now than in an installation
            log.event("started", version=__version__, server=settings.server, state_dir=settings.state_dir)
            loop = Loop(settings, journal, stop)
            if is_once:
                return 0 if loop.once() else 1
            loop.run()
        finally:
            lock.close()
    except Stopped:
        log.event("stopped")
        return 1 if is_once else 0
    return 0


def _keygen(options: argparse.Namespace) -> int:
    print(keys.generate(options.out))
    return 0


def _sign(options: argparse.Namespace) -> int:
    release = manifest.parse(_read(options.manifest))
    print(json.dumps(signatures.sign(release.canonical, keys.load_private(options.key))))
    return 0


def _verify(options: argparse.Namespace) -> int:
    release = manifest.parse(_read(options.manifest))
    given = [_signature(path) for path in options.signature]
    found = signatures.signers(release.canonical, given, keys.trusted(options.trusted_key, Path()))
    if len(found) < max(1, options.threshold):
        raise NotEnoughSignatures(f"{len(found)} different trusted keys signed it, {options.threshold} must")
    said = {"version": release.version, "sequence": release.sequence, "manifestDigest": release.digest}
    print(json.dumps({**said, "keyIds": sorted(found)}))
    return 0


def _signature(path: Path) -> object:
    try:
        return loads(_read(path))
    except NotJson as error:
        raise InputUnusable(f"{path} is {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputUnusable(f"can't read {path}: {error.strerror}") from error

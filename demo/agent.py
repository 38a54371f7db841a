"""The agent beside an Instance: its configuration, and its process, `dmr-agent run`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from demo import release
from demo.children import ROOT, Child
from demo.command import AGENT
from demo.environment import plain
from demo.relay import KEY_FILE

CONFIG = "agent.toml"
FIRST_MANIFEST = "first-manifest.json"


class Agent:
    """`folder` is the Instance's; the agent's own state is in `agent/` there."""

    def __init__(self, title: str, folder: Path, health_url: str, server_url: str) -> None:
        self.folder = folder
        self.health_url = health_url
        self.server_url = server_url
        # Python finds the installer, which runs in the Instance's folder.
        environment = {**plain(), "PYTHONPATH": str(ROOT)}
        command = [AGENT, "run", "--config", str(folder / CONFIG)]
        self.child = Child(f"The agent of {title}", command, folder / "agent.log", environment)

    def configure(self, trusted_keys: Sequence[str]) -> None:
        """`trusted_keys`: base64, as they came from Core on another way than through DMR."""
        installer = [sys.executable, "-m", "demo.installer", str(self.folder)]
        values = {
            "server": self.server_url,
            "api_key_file": KEY_FILE,
            "trusted_keys": list(trusted_keys),
            "threshold": 2,
            "state_dir": "agent",
            "install": installer,
            "undo": installer,
            "health": self.health_url,
            "initial_manifest": FIRST_MANIFEST,
            # A bot that reads its release for every answer is there at once; a real stack takes minutes.
            "soak_seconds": 2,
            "start_grace_seconds": 4,
            "health_interval_seconds": 0.5,
            "min_pause_seconds": 1,
            "max_pause_seconds": 5,
        }
        (self.folder / FIRST_MANIFEST).write_text(json.dumps(release.FIRST, ensure_ascii=False), encoding="utf-8")
        # What JSON writes for texts, numbers and lists of them is TOML as well.
        lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items()]
        (self.folder / CONFIG).write_text("".join(lines), encoding="utf-8")

"""What Core does in the registry, through `/centops/admin/…` with the staff key."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from demo.errors import Unexpected
from demo.http_call import Answer, call_json
from demo.place import write_secret
from demo.relay import KEY_FILE


class Registry:
    def __init__(self, url: str, staff_key: str) -> None:
        self.url = f"{url}/centops/admin"
        self._headers = {"X-Api-Key": staff_key}

    def register_institution(self, name: str) -> str:
        """Its id; one that is there already is taken over."""
        for each in self._call("GET", "institutions", None, 200).json():
            if each["name"] == name:
                return str(each["id"])
        return str(self._call("POST", "institutions", {"name": name, "status": "Active"}, 201).json()["id"])

    def register_participant(self, name: str, kind: str, host: str, institution: str, folder: Path) -> bool:
        """Registers it, or takes over the one of that name, and leaves its key in its folder. True if it is new."""
        body = {"name": name, "institutionId": institution, "host": host, "type": kind, "status": "Active"}
        path = folder / KEY_FILE
        for each in self._call("GET", "participants", None, 200).json():
            if each["name"] == name:
                self._take_over(each["id"], body, path)
                return False
        write_secret(path, self._call("POST", "participants", body, 201).json()["apiKey"])
        return True

    def _take_over(self, public_id: str, body: dict[str, str], path: Path) -> None:
        """With the key that we kept, if that is still good; else with a new one."""
        if path.exists():
            key = path.read_text().strip()
            if self._send("PUT", f"participants/{public_id}", {**body, "apiKey": key}).status == 200:
                return
        key = secrets.token_urlsafe(32)
        self._call("PUT", f"participants/{public_id}", {**body, "apiKey": key}, 200)
        write_secret(path, key)

    def _call(self, method: str, path: str, content: Any, status: int) -> Answer:
        answer = self._send(method, path, content)
        if answer.status != status:
            raise Unexpected(f"{status} from {method} /centops/admin/{path}", str(answer))
        return answer

    def _send(self, method: str, path: str, content: Any) -> Answer:
        return call_json(method, f"{self.url}/{path}", content, self._headers)

"""An OpenID Connect provider as a process of its own: discovery, authorization, token, keys, log-out.

It does what the specification asks of a provider (client authentication, redirect URI, PKCE, codes that count once),
and misbehaves where POST /control tells it to: {"token": {claim: value or null}, "user": {claim: value},
"sign": "RS256|none|HS256|strange|…", "discovery": {…}, "rotate": true, "down": true, "reset": true}.

    python tests/staff/oidc_provider.py     prints its address; ends when standard input closes
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

CLIENT, SECRET = "dmr", "a secret: with/odd+characters"
USER = {"sub": "38001085718", "preferred_username": "mari.maasikas", "given_name": "Mari", "family_name": "Maasikas"}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Keys:
    """One of each kind, under one name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.ed = ed25519.Ed25519PrivateKey.generate()

    def published(self) -> list[dict[str, str]]:
        of_rsa = self.rsa.public_key().public_numbers()
        of_ec = self.ec.public_key().public_numbers()
        raw = self.ed.public_key().public_bytes_raw()
        return [
            {"kty": "RSA", "use": "sig", "kid": self.name, "n": number(of_rsa.n), "e": number(of_rsa.e)},
            {"kty": "RSA", "use": "enc", "kid": f"{self.name}-enc", "n": number(of_rsa.n), "e": number(of_rsa.e)},
            {
                "kty": "EC",
                "crv": "P-256",
                "kid": self.name,
                "alg": "ES256",
                "x": number(of_ec.x),
                "y": number(of_ec.y),
            },
            {"kty": "OKP", "crv": "Ed25519", "kid": self.name, "use": "sig", "x": b64(raw)},
        ]

    def public_pem(self) -> bytes:
        return self.rsa.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, algorithm: str, data: bytes) -> bytes:
        if algorithm == "none":
            return b""
        if algorithm == "HS256":  # by what everybody knows
            return hmac.new(self.public_pem(), data, hashlib.sha256).digest()
        if algorithm == "EdDSA":
            return self.ed.sign(data)
        if algorithm == "ES256":
            r, s = decode_dss_signature(self.ec.sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        if algorithm == "PS256":
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
            return self.rsa.sign(data, pss, hashes.SHA256())
        return self.rsa.sign(data, padding.PKCS1v15(), hashes.SHA256())


class State:
    def __init__(self) -> None:
        self.first = Keys("first")
        self.reset()

    def reset(self) -> None:
        self.keys = self.first
        self.codes: dict[str, dict[str, str]] = {}
        self.calls: list[str] = []
        self.told: dict[str, Any] = {}

    def id_token(self, issuer: str, asked: dict[str, str]) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": asked.get("nonce"),
            "roles": ["viewer"],
            "email": "mari@example.ee",
            "email_verified": True,
            **USER,
            **self.told.get("user", {}),
            **self.told.get("token", {}),
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        algorithm = self.told.get("sign", "RS256")
        keys = Keys("first") if algorithm == "strange" else self.keys
        algorithm = "RS256" if algorithm == "strange" else algorithm
        head = {"alg": algorithm, "typ": "JWT", "kid": self.told.get("kid", keys.name)}
        signed = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims).encode())}"
        return f"{signed}.{b64(keys.sign(algorithm, signed.encode()))}"


state = State()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass

    @property
    def issuer(self) -> str:
        return f"http://{self.headers['Host']}/realms/core"

    def answer(self, status: int, said: Any = None, **headers: str) -> None:
        body = json.dumps(said).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_one(self) -> None:
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = parts.path.removeprefix("/realms/core")
        if path == "/calls":
            return self.answer(200, state.calls)
        if path != "/control":
            state.calls.append(path)
        if path != "/control" and state.told.get("down"):
            return self.answer(503)
        routes = {
            "/control": self.control,
            "/.well-known/openid-configuration": self.discovery,
            "/authorize": self.authorize,
            "/token": self.token,
            "/keys": self.published_keys,
        }
        return routes[path](asked) if path in routes else self.answer(404)

    do_GET = do_POST = handle_one

    def control(self, _: dict[str, str]) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if told.pop("reset", False):
            state.reset()
        if told.pop("rotate", False):
            state.keys = Keys(secrets.token_hex(4))
        state.told.update(told)
        self.answer(200, {})

    def discovery(self, _: dict[str, str]) -> None:
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "end_session_endpoint": f"{self.issuer}/log-out",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "PS256", "ES256", "EdDSA"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            **state.told.get("discovery", {}),
        }
        if state.told.get("moved"):
            return self.answer(302, {}, Location=f"{self.issuer}/elsewhere")
        return self.answer(200, document)

    def published_keys(self, _: dict[str, str]) -> None:
        self.answer(200, {"keys": state.keys.published()})

    def authorize(self, asked: dict[str, str]) -> None:
        """Its person is logged in already, and agrees."""
        needed = {"client_id", "redirect_uri", "state", "nonce", "code_challenge"}
        is_good = asked["response_type"] == "code" and asked["code_challenge_method"] == "S256"
        if not is_good or needed - asked.keys() or asked["client_id"] != CLIENT or "openid" not in asked["scope"]:
            return self.answer(400, {"error": "invalid_request"})
        code = secrets.token_urlsafe(16)
        state.codes[code] = asked
        back = {"code": code, "state": asked["state"], "iss": self.issuer, **state.told.get("back", {})}
        said = urlencode({name: value for name, value in back.items() if value is not None})
        return self.answer(302, {}, Location=f"{asked['redirect_uri']}?{said}")

    def token(self, _: dict[str, str]) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        methods = state.told.get("discovery", {}).get(
            "token_endpoint_auth_methods_supported", ["client_secret_basic"]
        )
        if "client_secret_basic" in methods:
            _, _, given = self.headers.get("Authorization", "").partition(" ")
            client, _, secret = base64.b64decode(given).decode().partition(":")
            client, secret = unquote(client), unquote(secret)
        else:
            client, secret = form.get("client_id", ""), form.get("client_secret", "")
        if (client, secret) != (CLIENT, SECRET):
            return self.answer(401, {"error": "invalid_client"})
        asked = state.codes.pop(form.get("code", ""), None)  # counts once
        challenge = b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if asked is None or challenge != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return self.answer(400, {"error": "invalid_grant"})
        said = {"access_token": secrets.token_urlsafe(), "token_type": "Bearer", "expires_in": 300}
        said["id_token"] = self.padded(state.id_token(self.issuer, asked))
        return self.answer(200, {**said, **state.told.get("answer", {})})

    def padded(self, token: str) -> str:
        return token + "A" * state.told.get("padding", 0)


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}/realms/core", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

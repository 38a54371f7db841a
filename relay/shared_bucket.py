"""The buckets that all web processes share: in Redis, or in a file beside the embedded database."""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from relay.token_bucket import Rate, Taken, Unavailable, granted

TIMEOUT_SECONDS = 0.1  # accepting waits no longer for it

# The same as token_bucket.granted and Rate.refilled, where nobody can come between.
_TAKE = """
    local rate, burst, least, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
    local time = redis.call('TIME')
    local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
    local known = redis.call('HMGET', KEYS[1], 'tokens', 'at')
    local tokens = burst
    if known[1] then
        tokens = math.min(burst, tonumber(known[1]) + math.max(0, now - tonumber(known[2])) * rate)
    end
    local granted = 0
    if tokens >= math.min(least, burst) then
        granted = math.max(least, math.min(want, math.floor(tokens)))
    end
    tokens = tokens - granted
    redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now))
    redis.call('PEXPIRE', KEYS[1], math.ceil((burst - tokens) / rate * 1000) + 1000)
    return {granted, string.format('%.6f', tokens)}
"""


class InRedis:
    """A key for each bucket, gone when the bucket is full again."""

    def __init__(self, url: str) -> None:
        client: Any = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._script: Any = client.register_script(_TAKE)

    def take(self, key: int, rate: Rate, least: int, want: int) -> Taken:
        try:
            given, left = self._script(keys=[f"dmr:bucket:{key}"], args=[rate.per_second, rate.burst, least, want])
        except (redis.RedisError, OSError) as error:
            raise Unavailable(type(error).__name__) from error
        return Taken(int(given), float(left))


_RECORD = struct.Struct("<dd")  # tokens, and when there were so many; zeros where nobody has taken yet


class InFile:
    """A record for each bucket in one file, which is locked for the few microseconds of a take."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()  # among threads; the file's is among processes
        self._file = -1

    def take(self, key: int, rate: Rate, least: int, want: int) -> Taken:
        try:
            with self._lock:
                if self._file < 0:
                    self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                _lock(self._file)
                try:
                    return self._take(key * _RECORD.size, rate, least, want)
                finally:
                    fcntl.flock(self._file, fcntl.LOCK_UN)
        except OSError as error:
            raise Unavailable(type(error).__name__) from error

    def _take(self, place: int, rate: Rate, least: int, want: int) -> Taken:
        now = self._clock()
        record = os.pread(self._file, _RECORD.size, place)
        tokens, at = _RECORD.unpack(record) if len(record) == _RECORD.size else (0.0, 0.0)
        tokens = rate.refilled(tokens, now - at)
        given = granted(tokens, least, want, rate.burst)
        os.pwrite(self._file, _RECORD.pack(tokens - given, now), place)
        return Taken(given, tokens - given)


def _lock(file: int) -> None:
    """Raises BlockingIOError where another process keeps it: it was stopped in the middle."""
    until = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(0.001)

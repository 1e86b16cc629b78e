"""The one HTTP client of the study: one request, one whole answer, one policy.

    exchange("POST", url, deadline_s=60, limit=2**20, json=value, headers={}) -> Reply

- The deadline is for the whole answer, not for one read: a server that sends a byte now and then
  does not hold the caller.
- An answer larger than `limit` bytes is given up.
- No redirect is followed: a key must not travel to an address that someone else chose.
- A proxy of the environment is used for other hosts and never for this machine.
- Everything that can go wrong on the way is one error, `NoAnswer`, whose text holds no header.
"""

import queue
import re
import ssl
import threading
import time
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, NamedTuple

import httpx

from study.errors import SpecError


class NoAnswer(Exception):
    """No whole answer came: refused, reset, late, too large, or not HTTP. The text says which."""


class Reply(NamedTuple):
    """A whole answer of any status. body: its bytes, not decompressed."""

    status: int
    reason: str
    body: bytes


def exchange(
    method: str,
    url: str,
    *,
    deadline_s: float,
    limit: int,
    json: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request and read its whole answer. Errors: NoAnswer.

    The request runs in a thread of its own, which is left behind when the deadline passes: a
    blocking read has no deadline for the sum of all reads.
    """
    sent = {"Accept-Encoding": "identity", **(headers or {})}
    client = httpx.Client(
        timeout=deadline_s,
        follow_redirects=False,
        trust_env=not is_loopback(url),
        verify=_trusted(),
    )
    result: queue.SimpleQueue[Reply | NoAnswer] = queue.SimpleQueue()
    ends_at = time.monotonic() + deadline_s

    def work() -> None:
        try:
            result.put(_read(client, method, url, json, sent, limit, ends_at))
        except NoAnswer as error:
            result.put(error)
        except Exception as error:  # noqa: BLE001 - of any layer of the client: no answer came
            result.put(NoAnswer(_reason(error)))

    threading.Thread(target=work, daemon=True, name="http").start()
    try:
        found = result.get(timeout=deadline_s)
    except queue.Empty:
        found = NoAnswer(f"no whole answer within {deadline_s:g} s")
    finally:
        client.close()
    if isinstance(found, NoAnswer):
        raise found
    return found


def checked_address(url: str, option: str, example: str) -> str:
    """Return an http or https address without user, password,
    query or fragment, else raise SpecError.
    """
    shown = re.sub(r"//[^/@]*@", "//***@", url)
    what = f"{option} {shown!r} is not an http or https address"
    wrong = SpecError(what, hint=f"{option} {example}")
    if not url.isascii() or any(character.isspace() for character in url):
        raise wrong
    try:
        parts = httpx.URL(url)
        port = parts.port
    except (httpx.InvalidURL, ValueError):
        raise wrong from None
    if parts.scheme not in ("http", "https") or not parts.host or not _usable(port):
        raise wrong
    if parts.userinfo:
        raise SpecError(
            f"{option} holds a user name or password", hint="put the key into the environment"
        )
    if parts.query or parts.fragment:
        raise SpecError(f"{option} holds a query or fragment", hint=f"{option} {example}")
    return url.rstrip("/")


def _usable(port: int | None) -> bool:
    return port is None or 0 < port < 2**16


def checked_key(value: str, variable: str) -> str:
    """Return a key as a header can carry it: without white space around it, printable ASCII only.

    Errors: SpecError, which names the variable and never the value.
    """
    key = value.strip()
    if not key.isascii() or not key.isprintable():
        raise SpecError(
            f"the environment variable {variable} holds characters that no HTTP header can carry",
            hint=f"set {variable} again: one line of plain letters, digits and signs",
        )
    return key


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine."""
    host = httpx.URL(url).host
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _read(
    client: httpx.Client,
    method: str,
    url: str,
    value: Any,
    headers: Mapping[str, str],
    limit: int,
    ends_at: float,
) -> Reply:
    with client.stream(method, url, json=value, headers=headers) as response:
        parts: list[bytes] = []
        size = 0
        for part in response.iter_raw():
            size += len(part)
            if size > limit:
                raise NoAnswer(f"the answer is larger than {limit:,} bytes")
            if time.monotonic() > ends_at:
                raise NoAnswer("the answer did not end in time")
            parts.append(part)
        return Reply(response.status_code, response.reason_phrase, b"".join(parts))


def _reason(error: Exception) -> str:
    """Return a cause in a few words. httpx repeats a header
    that it refuses, so that text is not used.
    """
    if isinstance(error, httpx.LocalProtocolError):
        return "the request cannot be sent as HTTP"
    text = " ".join(str(error).split())[:200]
    return text or type(error).__name__


@lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    """Made once: reading the certificates takes longer than a request on this machine."""
    return httpx.create_ssl_context()

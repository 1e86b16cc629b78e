"""The HTTP client: every trouble on the way is one error, within the deadline."""

import threading
import time

import pytest

from study.errors import SpecError
from study.http_client import NoAnswer, checked_address, checked_key, exchange, is_loopback
from tests.support.raw_server import Script, answering, dribble, whole

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TROUBLE: dict[str, Script] = {
    "nothing": [],
    "dead in the body": [HEAD, b"abc"],
    "bad chunk": [CHUNKED, b"zz\r\nabc\r\n"],
    "dead in a chunk": [CHUNKED, b"a\r\nabc"],
    "bad status line": [b"HTTP/9.9 OK\r\n\r\n"],
    "no http": [b"\x00\x01\x02 hello\r\n\r\n"],
    "bad length": [b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\nabc"],
    "too large": [whole(b"x" * 2000)],
    "too large without a length": [CHUNKED, b"800\r\n" + b"x" * 0x800 + b"\r\n0\r\n\r\n"],
    "silent": [30.0],
    "slow head": [step for _ in range(100) for step in (b"H", 0.05)],
    "slow body": dribble(30),
}


def ask(url: str) -> object:
    return exchange("POST", url, deadline_s=0.6, limit=1000, json={"a": 1})


@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble_of_any_kind_is_one_error_within_the_deadline(trouble: str) -> None:
    start = time.monotonic()
    with answering(TROUBLE[trouble]) as url, pytest.raises(NoAnswer, match=r"\w"):
        ask(url)
    assert time.monotonic() - start < 15  # the scripts last 30 s; the machine may be busy


def test_a_redirect_is_a_status_and_is_not_followed() -> None:
    elsewhere = b"Location: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
    with answering([b"HTTP/1.1 302 Found\r\n" + elsewhere]) as url:
        assert exchange("GET", url, deadline_s=10, limit=10).status == 302


def test_a_slow_answer_does_not_leave_its_thread_behind() -> None:
    with answering(dribble(60)) as url:
        with pytest.raises(NoAnswer, match="within"):
            ask(url)
        for _ in range(200):
            if not any(thread.name == "http" for thread in threading.enumerate()):
                return
            time.sleep(0.1)
    raise AssertionError("the request still runs long after its deadline")


@pytest.mark.parametrize("url", [
    "", "host", "127.0.0.1:8000", "file:///etc/passwd", "http://", "http://:80/v1",
    "http://host:99999/v1", "http://host:x/v1", "http://[::1/v1", "http://ho st/v1",
    "http://host/v1\n", "http://h\u00f6st/v1", "http://user:secret@host/v1",
    "http://secret@host", "http://user:secret@host:99999/v1",
    "http://host/v1?key=1", "http://host/v1#a", "ftp://host/v1", "http://host:0/v1",
])  # fmt: skip
def test_an_address_is_checked_before_anything_is_sent(url: str) -> None:
    with pytest.raises(SpecError) as error:
        checked_address(url, "--judge-url", "http://127.0.0.1:8000/v1")
    assert "secret" not in str(error.value)


def test_good_addresses_and_this_machine() -> None:
    for url in ("http://127.0.0.1:8000/v1", "https://api.example.org/v1/", "http://[::1]:80"):
        assert checked_address(url, "--judge-url", "x") == url.rstrip("/")
    here = ("localhost", "127.3.0.1", "[::1]")
    assert all(is_loopback(f"http://{host}/") for host in here)
    assert not is_loopback("http://example.org")


@pytest.mark.parametrize("key", ["sk-1\nsk-2", "sk-\u043a\u043b", "sk\x00", "sk\r\nX: y"])
def test_a_key_that_no_header_can_carry_is_refused_by_its_variable_alone(key: str) -> None:
    with pytest.raises(SpecError, match="MY_KEY") as error:
        checked_key(key, "MY_KEY")
    assert "sk" not in str(error.value)


def test_white_space_around_a_key_is_not_part_of_it() -> None:
    assert checked_key(" sk-1\r\n", "MY_KEY") == "sk-1"

"""A small OpenAI-compatible server: some answers are a verdict, some are faults."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Endpoint(ThreadingHTTPServer):
    """Answer by the text of the reply: `busy` once with 503, `slow` late, `junk` with no JSON,
    `away` with a redirect, else a verdict.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.released = threading.Event()  # lets slow answers go

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][1]["content"]
        first = not any(text == seen["messages"][1]["content"] for seen in self.server.seen)
        self.server.seen.append(body)
        self.server.keys.append(self.headers.get("Authorization"))
        if "never" in text or ("busy" in text and first):
            self.answer(503, b"")
        elif "wrong key" in text:
            self.answer(401, b"")
        elif "away" in text:
            self.answer(302, b"", Location=f"{self.server.url}/elsewhere")
        elif "slow" in text:
            self.server.released.wait(30)
            self.answer(200, b"")
        elif "junk" in text:
            self.answer(200, b"not json")
        else:
            said = (
                "no opinion"
                if "mumble" in text
                else f"Because.\nVERDICT: {'FAIL' if 'bomb' in text else 'PASS'}"
            )
            self.answer(200, json.dumps({"choices": [{"message": {"content": said}}]}).encode())

    def answer(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client has given up
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextlib.contextmanager
def serving() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()

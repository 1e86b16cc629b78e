"""A stand-in for a vLLM server that scores prompts: /health and /v1/completions with
`prompt_logprobs`, in vLLM's own shape.

As a program (the standard library alone): `python -m tests.support.scoring_server --model F --host
H --port P ...` answers from a fixed table of 64 tokens, after it has written its arguments to its
output.
"""

import contextlib
import json
import math
import random
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Token ids -> for each of them the log-probabilities of the next token.
Score = Callable[[list[int]], list[list[float]]]


def table(size: int = 64) -> Score:
    """Return a random bigram model."""
    rng = random.Random(0)
    logits = [[rng.gauss(0, 2) for _ in range(size)] for _ in range(size)]
    rows = [[value - math.log(sum(map(math.exp, row))) for value in row] for row in logits]
    return lambda ids: [rows[token] for token in ids]


class Endpoint(ThreadingHTTPServer):
    """trouble: what to answer instead, as (status, body)."""

    daemon_threads = True

    def __init__(self, score: Score, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((host, port), Handler)
        self.score, self.seen = score, list[dict[str, Any]]()
        self.trouble: tuple[int, bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_GET(self) -> None:
        self.answer(200, b"")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(body)
        if self.server.trouble is not None:
            self.answer(*self.server.trouble)
            return
        choices = [
            {"index": i, "text": "", "prompt_logprobs": self.places(row, body)}
            for i, row in enumerate(body["prompt"])
        ]
        self.answer(200, json.dumps({"choices": choices[::-1]}).encode())  # no order is promised

    def places(self, row: list[int], body: dict[str, Any]) -> list[dict[str, Any] | None]:
        """Return the written token first, then the likeliest ones, each with its rank; nothing for
        the first token.
        """
        after = self.server.score(row)
        k = body["prompt_logprobs"] if body["prompt_logprobs"] >= 0 else len(after[0])
        found: list[dict[str, Any] | None] = [None]
        for before, token in zip(after[:-1], row[1:], strict=True):
            order = sorted(range(len(before)), key=lambda v: -before[v])
            shown = dict.fromkeys([token, *order[:k]])
            found.append(
                {
                    str(v): {"logprob": before[v], "rank": order.index(v) + 1, "decoded_token": ""}
                    for v in shown
                }
            )
        return found

    def answer(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextlib.contextmanager
def serving(score: Score) -> Iterator[Endpoint]:
    server = Endpoint(score)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def main(arguments: list[str]) -> None:
    told = dict(zip(arguments[::2], arguments[1::2], strict=True))
    print("asked for", json.dumps(told), flush=True)
    Endpoint(table(), told["--host"], int(told["--port"])).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])

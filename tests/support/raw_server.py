"""A TCP server that answers every request with scripted bytes: wrong HTTP, cut bodies, slow
ones.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence

Script = Sequence[bytes | float]  # bytes to send, or seconds to wait before the next ones


@contextlib.contextmanager
def answering(script: Script) -> Iterator[str]:
    """Yield the address of a server that plays `script` to every connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=play, args=(connection,), daemon=True).start()

    def play(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(2**16)
            for step in script:
                if isinstance(step, bytes):
                    connection.sendall(step)
                elif ended.wait(step):
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def whole(body: bytes, status: str = "200 OK") -> bytes:
    """Return a complete answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def dribble(seconds: float, each: float = 0.05) -> list[bytes | float]:
    """Return a head and then a byte every `each` seconds."""
    steps: list[bytes | float] = [b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"]
    for _ in range(int(seconds / each)):
        steps += [each, b" "]
    return steps

"""A server on loopback that speaks the chat protocol, and every fault that tests ask it for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-test-THIS-KEY-MUST-NOT-BE-WRITTEN-4711"


@dataclass(frozen=True)
class Fault:
    """What the server does instead of answering; what is None is as it should be."""

    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    hang_up: bool = False


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class ChatServer:
    """A running server: what it was asked, and how many questions it had at once."""

    url: str
    received: list[Received] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0


def completion(text: Any, model: str = "see-er", tokens: int = 100) -> bytes:
    """The JSON of an answer."""
    usage = {"usage": {"prompt_tokens": tokens - 10, "completion_tokens": 10, "total_tokens": tokens}} if tokens else {}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"object": "chat.completion", "model": model, "choices": [choice], **usage}).encode()


Reply = Callable[[int, Received], bytes | Fault]
"""What request number n (from 0) gets."""


@contextmanager
def chat_server(reply: Reply) -> Iterator[ChatServer]:
    """A server that answers as ``reply`` says, until the context ends."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = Received(self.path, dict(self.headers.items()), body)
            with lock:
                number = len(server.received)
                server.received.append(asked)
                server.at_once += 1
                server.most_at_once = max(server.most_at_once, server.at_once)
            try:
                self._answer(reply(number, asked))
            finally:
                with lock:
                    server.at_once -= 1

        def _answer(self, said: bytes | Fault) -> None:
            fault = said if isinstance(said, Fault) else Fault(body=said)
            time.sleep(fault.delay)
            if fault.hang_up:
                self.connection.close()
                return
            payload = fault.body if fault.body is not None else b'{"error": {"message": "as ordered"}}'
            try:
                self.send_response(fault.status)
                for name, value in fault.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)
            except OSError:  # the client has left, as after a timeout
                pass

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that leaves is part of the tests."""

    http = Quiet(("127.0.0.1", 0), Handler)
    server = ChatServer(f"http://127.0.0.1:{http.server_address[1]}/v1")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()

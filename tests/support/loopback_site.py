"""Web servers on loopback that answer as no good server would."""

import socket
import ssl
import threading
import time
from collections.abc import Callable

from unstatic.server.fetching import Policy

Answer = Callable[[socket.socket, bytes], object]


class Site:
    """A server on loopback that answers every connection with `answer`, and what it was asked."""

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        self.answer, self.context = answer, context
        self.asked: list[bytes] = []
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self.threads = [threading.Thread(target=self._serve)]
        self.threads[0].start()

    def url(self, path: str = "/", host: str = "pictures.test", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def policy(self, *, time_s: float = 4.0, max_bytes: int = 10_000, max_redirects: int = 3) -> Policy:
        return Policy(
            http=True,
            ports=(self.port,),
            allowed_networks=("127.0.0.1/32",),
            time_s=time_s,
            max_bytes=max_bytes,
            max_redirects=max_redirects,
        )

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            with connection:
                try:
                    self._talk(connection)
                except OSError:
                    continue

    def _talk(self, plain: socket.socket) -> None:
        connection = self.context.wrap_socket(plain, server_side=True) if self.context else plain
        with connection:
            request = b""
            while b"\r\n\r\n" not in request and (received := connection.recv(65_536)):
                request += received
            head, _, body = request.partition(b"\r\n\r\n")
            lengths = [int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")]
            while lengths and len(body) < lengths[0] and (received := connection.recv(65_536)):
                body += received
            self.asked.append(head + b"\r\n\r\n" + body)
            self.answer(connection, head)

    def close(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.threads[0].join()


def saying(head: str, body: bytes = b"") -> Answer:
    return lambda connection, _: connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)


def endless(start: bytes, piece: bytes, pause_s: float = 0.0) -> Answer:
    def answer(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(start)
        while True:  # until the other side has enough
            connection.sendall(piece)
            time.sleep(pause_s)

    return answer

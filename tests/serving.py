"""A web server on this machine that answers as a test tells it to."""

import contextlib
import http.server
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Server(http.server.ThreadingHTTPServer):
    """Answers each request by calling `answer`; keeps the requests' paths and headers, and which connection it was."""

    daemon_threads = True
    answer: Answer
    seen: list[dict[str, str]]
    keeps = False  # whether connections are kept after an answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        self.close_connection = not self.server.keeps
        self.server.seen.append({**dict(self.headers), "path": self.path, "peer": str(self.client_address[1])})
        self.server.answer(self)

    def log_message(self, format: str, *args: object) -> None:
        """Tests are quiet."""


@contextlib.contextmanager
def serving(answer: Answer, tls: ssl.SSLContext | None = None, keeps: bool = False) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.answer, server.seen, server.keeps = answer, [], keeps
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply(handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def files(known: Mapping[str, bytes]) -> Answer:
    """An honest server of these paths (with leading `/`); 404 for all others."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        reply(handler, 200, known[handler.path]) if handler.path in known else reply(handler, 404)

    return answer


@contextlib.contextmanager
def talking(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that reads each connection's request and then says what `talk` sends, whatever it is."""
    listener = socket.create_server(("127.0.0.1", 0))

    def one(peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            while b"\r\n\r\n" not in peer.recv(1 << 16, socket.MSG_PEEK):
                pass
            peer.recv(1 << 16)
            talk(peer)

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()

"""One copy of a function's `bootstrap`, and the Runtime API that it calls, as Lambda's documentation describes it."""

import json
import queue
import re
import ssl
import subprocess
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Loopback(ThreadingHTTPServer):
    """A server on a free port of loopback, with or without TLS."""

    daemon_threads = True

    def __init__(self, handler, tls=None):
        super().__init__(("127.0.0.1", 0), handler)
        if tls:
            # The thread of the connection does the handshake, so a refused client does not block others.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """Ignores clients that were killed or refused: that is no error of the server."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)


class Replies(BaseHTTPRequestHandler):
    """Without logs, and each reply in one packet: otherwise every call waits 40 ms for a delayed acknowledgement."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def body(self):
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        chunks = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return chunks


class Copy:
    """A running `bootstrap`. It handles one invocation at a time."""

    def __init__(self, bootstrap, environment, arn, output, folder=None):
        self.is_waiting = threading.Event()  # it has asked for its first invocation
        self._arn, self._todo, self._answers = arn, queue.Queue(), {}
        self._api = Loopback(self._handler())
        environment = {**environment, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._api.server_port}"}
        self.process = subprocess.Popen(
            bootstrap if isinstance(bootstrap, list) else [bootstrap],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def invoke(self, payload, timeout_s):
        """The answer, and whether it is an error."""
        request, answer, end = str(uuid.uuid4()), queue.Queue(), time.time() + timeout_s
        self._answers[request] = answer
        self._todo.put((request, payload, int(end * 1000)))
        try:
            while True:
                try:
                    return answer.get(timeout=0.2)
                except queue.Empty:
                    if self.process.poll() is not None:
                        return True, failure(
                            "Runtime.ExitError",
                            f"RequestId: {request} Error: Runtime exited with error: exit status {self.process.returncode}",
                        )
                    if time.time() > end:
                        self.stop()
                        return True, failure(
                            "Sandbox.Timedout",
                            f"RequestId: {request} Error: Task timed out after {timeout_s:.2f} seconds",
                        )
        finally:
            del self._answers[request]

    @property
    def is_alive(self):
        return self.process.poll() is None

    def stop(self):
        self.process.kill()
        self.process.wait()
        self._api.shutdown()
        self._api.server_close()

    def _handler(copy):  # the handler has a `self` of its own
        class Handler(Replies):
            def do_GET(self):
                copy.is_waiting.set()
                request, payload, deadline_ms = copy._todo.get()
                self.reply(
                    200,
                    payload,
                    [
                        ("content-type", "application/json"),
                        ("lambda-runtime-aws-request-id", request),
                        ("lambda-runtime-deadline-ms", str(deadline_ms)),
                        ("lambda-runtime-invoked-function-arn", copy._arn),
                        ("lambda-runtime-trace-id", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0"),
                    ],
                )

            def do_POST(self):
                body = self.body()
                self.reply(202)
                found = re.search(r"/invocation/([^/]+)/(response|error)$", self.path)
                answer = copy._answers.get(found[1]) if found else None
                if answer:
                    answer.put((found[2] == "error", body))

        return Handler


def failure(kind, message):
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()

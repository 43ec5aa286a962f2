#!/usr/bin/python3
"""A receiver of webhooks that does as it is told, and checks signatures by itself.

    receiver.py PLAN SECRET [CERTIFICATE KEY]

PLAN is a JSON file, read at each request: {"*": [step, ...], SUBJECT: [step, ...]}; the last step of a list is repeated, or with
"cycle": true the list. "verify" is 200 for a right signature, else 401. SECRET is read at each request, too. The port is $PORT, or any. The first line of output is the port; then one JSON line for each request, before it is answered.
"""
import base64, hashlib, hmac, json, os, ssl, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

plan_file, secret_file = sys.argv[1], sys.argv[2]
lock, taken = threading.Lock(), {}


def key():
    secret = open(secret_file, "rb").read().strip()
    return base64.b64decode(secret[6:]) if secret.startswith(b"whsec_") else secret


def step_for(subject):
    plan = json.load(open(plan_file))
    who = subject if subject in plan else "*"
    with lock:
        taken[who], steps = taken.get(who, -1) + 1, plan[who]
        return steps[taken[who] % len(steps) if "cycle" in plan else min(taken[who], len(steps) - 1)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        print(json.dumps({"step": "GET", "path": self.path}), flush=True)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        signed = b".".join([self.headers["webhook-id"].encode(), self.headers["webhook-timestamp"].encode(), body])
        digest = base64.b64encode(hmac.new(key(), signed, hashlib.sha256).digest()).decode()
        event = json.loads(body)
        right = hmac.compare_digest("v1," + digest, self.headers["webhook-signature"])
        step = step_for(event["subject"])
        step = step if step != "verify" else "200" if right else "401"
        line = {"step": step, "path": self.path, "host": self.headers["host"], "event": event,
                "content_type": self.headers["content-type"], "id": self.headers["webhook-id"],
                "fresh": abs(time.time() - int(self.headers["webhook-timestamp"])) < 60,
                "signed": right}
        with lock:
            print(json.dumps(line), flush=True)
        self.answer(*step.split())

    def answer(self, step, *headers):
        try:
            if step.isdigit():
                self.send_response(int(step))
                for header in headers:
                    self.send_header(*header.split("="))
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")
            else:
                self.close_connection = True
                getattr(self, step)()
        except OSError:
            self.close_connection = True

    def hang(self):
        time.sleep(3600)

    def close(self):
        pass

    def garbage(self):
        self.wfile.write(b"\x16\x03\x01 SSH-2.0-nonsense\r\n\r\n" * 10)

    def upgrade(self):
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
        time.sleep(1)

    def drip(self, head, again):
        self.wfile.write(head)
        for _ in range(100_000):
            self.wfile.write(again)
            time.sleep(0.001)

    def endless_hints(self):
        self.drip(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n")

    def slow_head(self):
        self.drip(b"HTTP/1.1 200 OK\r\nx: ", b"y")

    def endless_head(self):
        self.drip(b"HTTP/1.1 200 OK\r\n", b"x: " + b"y" * 1000 + b"\r\n")

    def endless_body(self):
        self.drip(b"HTTP/1.1 200 OK\r\n\r\n", b"y" * 1000)

    def endless_chunks(self):
        self.drip(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\ny\r\n")

    def slow_body(self):
        self.drip(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", b"y")


class Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True

    def handle_error(self, *_):
        pass


server = Server(("127.0.0.1", int(os.environ.get("PORT", 0))), Handler)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_address[1], flush=True)
server.serve_forever()

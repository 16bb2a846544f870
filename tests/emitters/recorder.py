"""Stands between an emitter and driftline, passes everything on, and remembers what was sent."""

import gzip
import re
import struct
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Recorder:
    """What passed since the last `clear`."""

    def __init__(self, receiver):
        self.receiver = receiver
        self.clear()
        recorder = self

        class Handler(RecordingHandler):
            owner = recorder

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"

    def clear(self):
        self.bodies, self.refusals = [], []

    def save(self, folder):
        """Writes what was sent, request by request."""
        folder.mkdir(parents=True, exist_ok=True)
        for number, (path, body) in enumerate(self.bodies):
            (folder / f"{number}{path.replace('/', '-')}.pb").write_bytes(body)

    def values(self, trace_id):
        """Every name, text and number of the spans and log records of a trace that passed."""
        sent = [record for path, body in self.bodies for record in records(path, body)]
        return [value for found, values in sent if found == trace_id for value in values]

    def was_sent(self, trace_id, needle):
        """Whether a text, or a number by itself and not in a name, a time or a fraction, was part of any value of a trace."""
        alone = rf"(?<!\w)(?<!\d[.:-]){needle}(?!\w)(?!\.\d*[1-9])(?![:-]\d)"
        pattern = alone if isinstance(needle, int) else re.escape(needle)
        return any(re.search(pattern, str(value)) for value in self.values(trace_id))


class RecordingHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner = None

    def do_POST(self):
        body = self.body()
        is_packed = self.headers.get("Content-Encoding") == "gzip"
        self.owner.bodies.append((self.path, gzip.decompress(body) if is_packed else body))
        status, answer, content_type = self.forward(body)
        if status != 200:
            self.owner.refusals.append(f"{self.path}: {status} {answer.decode(errors='replace')}")
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def forward(self, body):
        kept = {name: value for name, value in self.headers.items() if name.lower() in ("content-type", "content-encoding")}
        request = urllib.request.Request(self.owner.receiver + self.path, body, kept, method="POST")
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read(), answer.headers.get("Content-Type", "")
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read(), refusal.headers.get("Content-Type", "")

    def log_message(self, *_):
        pass


# The fields of OTLP's messages that hold what an emitter says, by number: enough to list every value.
ANY_VALUE = {1: str, 2: bool, 3: int, 4: float}
KEY_VALUE = {1: str, 2: ANY_VALUE}
ANY_VALUE |= {5: {1: ANY_VALUE}, 6: {1: KEY_VALUE}}
RESOURCE = {1: KEY_VALUE}
SPAN = {5: str, 9: KEY_VALUE, 11: {2: str, 3: KEY_VALUE}, 15: {2: str}}
LOG_RECORD = {5: ANY_VALUE, 6: KEY_VALUE, 12: str}
RECORDS = {"/v1/traces": (SPAN, 1), "/v1/logs": (LOG_RECORD, 9)}
"""What a request holds, and the field with the trace's id."""


def records(path, body):
    """The id of the trace and every name, text and number, resource included, of each span or log record."""
    schema, trace_id = RECORDS[path]
    for group in parts(body, 1):
        shared = [value for resource in parts(group, 1) for value in values(RESOURCE, resource)]
        for record in (record for scope in parts(group, 2) for record in parts(scope, 2)):
            for identity in parts(record, trace_id):
                yield identity.hex(), shared + list(values(schema, record))


def parts(message, number):
    return [raw for found, raw in fields(message) if found == number]


def values(schema, message):
    for number, raw in fields(message):
        kind = schema.get(number)
        if isinstance(kind, dict):
            yield from values(kind, raw)
        elif kind is str:
            yield raw.decode()
        elif kind is float:
            yield struct.unpack("<d", raw)[0]
        elif kind is not None:
            yield raw


def fields(message):
    """Number and raw value of each field of a protobuf message."""
    position = 0
    while position < len(message):
        tag, position = varint(message, position)
        wire = tag & 7
        if wire == 0:
            raw, position = varint(message, position)
        else:
            size, position = (8, position) if wire == 1 else (4, position) if wire == 5 else varint(message, position)
            raw, position = message[position : position + size], position + size
        yield tag >> 3, raw


def varint(message, position):
    value = shift = 0
    while True:
        byte = message[position]
        value, shift, position = value | (byte & 0x7F) << shift, shift + 7, position + 1
        if byte < 0x80:
            return value, position

"""Takes OTLP logs over HTTP, decodes them with the package generated from opentelemetry-proto, and writes a JSON line a
request. What it answers is in a file that the test writes: `ok`, `partial N`, `html` or `status N`."""

import http.server
import json
import pathlib
import sys

from google.protobuf.json_format import MessageToDict
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

PORT, HOW, OUT = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200, "text/plain", b"ready")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = ExportLogsServiceRequest.FromString(body)
        # Nothing that the schema does not know.
        assert len(UnknownFieldSet(request)) == 0
        how = HOW.read_text().split()
        with open(OUT, "a") as out:
            out.write(
                json.dumps(
                    {
                        "path": self.path,
                        "type": self.headers["Content-Type"],
                        "key": self.headers["Idempotency-Key"],
                        "how": how[0],
                        "logs": MessageToDict(request),
                    }
                )
                + "\n"
            )
        response = ExportLogsServiceResponse()
        if how[0] == "status":
            self.answer(int(how[1]), "text/plain", b"")
        elif how[0] == "html":
            self.answer(200, "text/html", b"<html>Please log in</html>")
        else:
            if how[0] == "partial":
                response.partial_success.rejected_log_records = int(how[1])
                response.partial_success.error_message = "too old"
            self.answer(200, "application/x-protobuf", response.SerializeToString())

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Receiver).serve_forever()

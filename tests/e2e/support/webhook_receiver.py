"""A receiver of webhooks that checks signatures: `webhook_receiver.py PORT SECRET FILE`.

Appends a line of JSON to FILE for each request. Answers 204; an event of the type `busy` is answered
503 the first two times, `refused` always 422, and one whose signature does not hold 401.
"""

import json
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

port, secret, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
seen = Counter()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        event = json.loads(body)
        try:
            Webhook(secret).verify(body, dict(self.headers.items()))
            verified = True
        except WebhookVerificationError:
            verified = False
        seen[event["type"]] += 1
        with open(path, "a") as file:
            entry = {"id": self.headers["webhook-id"], "verified": verified, "event": event}
            file.write(json.dumps(entry) + "\n")
        if not verified:
            status = 401
        elif event["type"] == "busy" and seen["busy"] <= 2:
            status = 503
        elif event["type"] == "refused":
            status = 422
        else:
            status = 204
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


HTTPServer(("127.0.0.1", port), Receiver).serve_forever()

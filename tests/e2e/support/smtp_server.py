"""A mail server that keeps what it takes: `smtp_server.py PORT MAILBOX CERTIFICATE KEY clear|starttls|implicit`.

By TLS it takes mail of `ada` with the password `secret` alone.
"""

import ssl
import sys
import threading

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import AuthResult

port, mailbox, certificate, key, how = sys.argv[1:]


def knows(server, session, envelope, mechanism, data):
    known = (data.login, data.password) == (b"ada", b"secret")
    return AuthResult(success=known, handled=False)


settings = {}
if how != "clear":
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    settings = {"authenticator": knows, "auth_required": True}
    if how == "starttls":
        settings.update(tls_context=context, require_starttls=True)
    else:
        settings.update(ssl_context=context, auth_require_tls=False)
Controller(Mailbox(mailbox), "127.0.0.1", int(port), **settings).start()
threading.Event().wait()

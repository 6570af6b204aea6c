"""HTTP checks with TLS: whose certificate is believed, and what is said when it is not."""

from __future__ import annotations

import re
import socket
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from ssl import CERT_REQUIRED

from meshnode.runtime.tls import TlsContexts, TlsSettings
from tests.support.certs import make_ca, make_cert
from tests.support.checks import client_contexts, server_context
from tests.unit.meshnode.runtime.checks.web_servers import ask, loops, web

CA = make_ca()


@loops
def test_https_is_verified_against_the_cas_and_the_name(loop: str, tmp_path: Path) -> None:
    trusted, stranger = client_contexts(CA), client_contexts(make_ca("Other"))
    with web(server_context(make_cert(["127.0.0.1", "localhost"], CA), tmp_path)) as server:
        server.answers["/"] = (200, {}, b"fine")
        url = server.base + "/"
        assert ask(url, trusted, loop) == ("passing", f"HTTP GET {url}: 200 OK Output: fine")
        assert ask(url, stranger, loop).output.startswith(
            f"Get {url}: x509: certificate signed by unknown authority ("
        )
        assert ask(url, stranger, loop, tls_skip_verify=True).status == "passing"
        assert "is not valid for web.example" in ask(url, trusted, loop, tls_server_name="web.example").output
        assert ask(url, trusted, loop, tls_server_name="localhost").status == "passing"


def test_the_agents_own_certificate_is_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    ca_file, _ = CA.write(tmp_path, "ca")
    cert_file, key_file = make_cert(["client.example"], CA).write(tmp_path, "own")
    agent = TlsContexts(TlsSettings(ca_file=ca_file, cert_file=cert_file, key_file=key_file))
    context = server_context(make_cert(["127.0.0.1"], CA), tmp_path)
    context.verify_mode = CERT_REQUIRED
    context.load_verify_locations(ca_file)
    with web(context) as server:
        server.answers["/"] = (200, {}, b"")
        shown, hidden = (
            ask(
                server.base + "/",
                lambda skip, present=present: agent.checks_client(
                    skip_verify=skip, present_certificate=present
                ),
            )
            for present in (True, False)
        )
        assert shown.status == "passing"
        assert hidden.status == "critical"
        # The refusal and the end of the connection race.
        assert re.search("certificate required|broken pipe|connection reset", hidden.output)


def test_an_expired_certificate_is_named_as_such(tmp_path: Path) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    old = make_cert(["127.0.0.1"], CA, not_before=yesterday - timedelta(days=9), not_after=yesterday)
    with web(server_context(old, tmp_path)) as server:
        output = ask(server.base + "/", client_contexts(CA)).output
        assert "x509: certificate has expired or is not yet valid" in output


@loops
def test_a_server_that_hangs_up_on_the_handshake_is_asked_whether_it_speaks_tls(loop: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"

        def hang_up() -> None:
            accepted, _ = listener.accept()
            with accepted:
                accepted.recv(1)

        thread = threading.Thread(target=hang_up)
        thread.start()
        result = ask(url, client_contexts(CA), loop)
        thread.join()
    assert result.output == (
        f"Get {url}: tls: the connection was closed in the handshake: does the server speak TLS there?"
    )


def test_plain_and_tls_mixed_up_say_so(tmp_path: Path) -> None:
    with web() as server:
        output = ask(server.base.replace("http:", "https:") + "/", client_contexts(CA)).output
        assert "does not look like a TLS handshake: does the server speak it without TLS?" in output
    with web(server_context(make_cert(["127.0.0.1"], CA), tmp_path)) as server:
        result = ask(server.base.replace("https:", "http:") + "/")
        assert result.status == "critical"

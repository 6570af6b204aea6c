"""The client of the modules: a server of the standard library, and a real agent that wants client certificates."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.meshnode.lab.plugins.doc_fragments import mesh_api as fragment
from ansible_collections.meshnode.lab.plugins.module_utils import mesh_api
from ansible_collections.meshnode.lab.plugins.module_utils.mesh_api import MeshApi, MeshApiError, path_of

from tests.support.http_stub import StubAgent, stub_agent
from tests.support.mesh_agent import run_mesh
from tests.unit.plugins.api_agents import ApiAgent

ROOT = Path(__file__).parents[4]


@pytest.fixture
def stub() -> Iterator[StubAgent]:
    with stub_agent() as agent:
        yield agent


def refusal(api: MeshApi, path: str = "/v1/status/leader") -> str:
    with pytest.raises(MeshApiError) as raised:
        api.get(path)
    return str(raised.value)


@contextlib.contextmanager
def answering(pieces: list[bytes], wait: threading.Event | None = None) -> Iterator[str]:
    """A port that answers each connection with the pieces; it goes on with the last one until ``wait`` is set."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(20)
    done = wait or threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError):
            taken, _ = server.accept()
            with taken:
                taken.recv(65536)
                for piece in pieces:
                    taken.sendall(piece)
                while wait is not None and not done.wait(0.02):
                    taken.sendall(pieces[-1])

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        done.set()
        thread.join(20)
        server.close()


def test_the_token_is_a_header_and_never_in_the_url_or_an_error(stub: StubAgent) -> None:
    stub.answer("GET /v1/kv/a", [], 403)
    api = MeshApi(stub.address, token="very-secret")
    text = refusal(api, "/v1/kv/a")
    assert stub.last.headers["X-Consul-Token"] == "very-secret"
    assert stub.last.query == {}
    assert "very-secret" not in text + repr(api)
    assert text.endswith("set token (or CONSUL_HTTP_TOKEN) to a token that may do this")


def test_query_and_datacenter_are_sent_and_what_is_none_is_not(stub: StubAgent) -> None:
    stub.answers["GET " + path_of("kv", "a b/c?")] = (200, [1])
    api = MeshApi(stub.address, datacenter="dc2")
    assert api.get(path_of("kv", "a b/c?"), recurse=True, index=None, wait="5s") == [1]
    assert stub.last.query == {"dc": "dc2", "recurse": "", "wait": "5s"}


def test_parts_of_a_path_are_quoted_and_the_slashes_of_the_last_one_stay() -> None:
    assert path_of("kv", "a/b c") == "/v1/kv/a/b%20c"
    assert path_of("agent/x", "y") == "/v1/agent%2Fx/y"


@pytest.mark.parametrize("status", [500, 503])
def test_no_leader_is_asked_again_so_often_and_no_more(stub: StubAgent, status: int) -> None:
    stub.answer("GET /v1/kv/a", b"rpc error making call: No cluster leader", status)
    slept: list[float] = []
    text = refusal(MeshApi(stub.address, retries=5, sleep=slept.append), "/v1/kv/a")
    assert slept == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert len(stub.asked) == 6
    assert "No cluster leader: asked 6 times: bring enough servers up" in text


def test_a_leader_that_comes_back_answers(stub: StubAgent) -> None:
    stub.answer("GET /v1/kv/a", b"No cluster leader", 500)

    def elect(_seconds: float) -> None:
        stub.answer("GET /v1/kv/a", [1])

    assert MeshApi(stub.address, sleep=elect).get("/v1/kv/a") == [1]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_other_failures_are_not_repeated(stub: StubAgent, status: int) -> None:
    stub.answer("PUT /v1/session/create", b"rpc error: it broke", status)
    with pytest.raises(MeshApiError, match=f"/v1/session/create: {status} rpc error: it broke$") as raised:
        MeshApi(stub.address).put("/v1/session/create", {})
    assert (len(stub.asked), raised.value.status) == (1, status)


def test_an_endless_answer_ends_with_the_timeout() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    with answering([head, b"x"], threading.Event()) as address:
        assert refusal(MeshApi(address, timeout=0.5)).endswith(
            "no answer within 0.5 s: is the agent well? Else raise timeout"
        )


def test_endless_headers_end_with_the_timeout() -> None:
    with answering([b"HTTP/1.1 200 OK\r\nX-A: ", b"y"], threading.Event()) as address:
        assert "no answer within 0.5 s" in refusal(MeshApi(address, timeout=0.5))


def test_an_answer_has_a_size(monkeypatch: pytest.MonkeyPatch, stub: StubAgent) -> None:
    monkeypatch.setattr(mesh_api, "MAX_ANSWER_BYTES", 10)
    stub.answer("GET /v1/a", b'"12345678"')
    assert MeshApi(stub.address).get("/v1/a") == "12345678"
    stub.answer("GET /v1/a", b'"123456789"')
    assert "answers with more than 10 bytes: ask for less" in refusal(MeshApi(stub.address), "/v1/a")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        (b"\x15\x03\x03\x00\x02\x02\x50", "does the port speak TLS? Then write https://"),
        (b"", "does not speak HTTP (RemoteDisconnected): is it an agent"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n<h>",
            "something else than JSON: does address name an",
        ),
    ],
)
def test_a_stranger_at_the_address_is_told(answer: bytes, message: str) -> None:
    with answering([answer]) as address:
        assert message in refusal(MeshApi(address))


def test_nobody_at_the_address_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert refusal(MeshApi(f"127.0.0.1:{port}")) == (
        f"http://127.0.0.1:{port}/v1/status/leader: can't reach the agent (Connection refused): is it running there? "
        "Set address (or CONSUL_HTTP_ADDR) to where it answers"
    )


def test_a_socket_file_is_an_address(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        taken, _ = server.accept()
        taken.recv(65536)
        taken.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"ok"')
        taken.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert MeshApi(f"unix://{path}").get("/v1/x") == "ok"
    thread.join(20)
    server.close()
    assert "can't reach the agent" in refusal(MeshApi(f"unix://{tmp_path}/other.sock"))


ADDRESSES = [
    "",
    "http://",
    "ftp://h:1",
    "h:99999",
    "h:x",
    "unix://",
    "unix://a",
    "http://h/v1",
    "h?x=1",
    "a b",
    "h\n",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_bad_address_is_named_with_its_fix(address: str) -> None:
    with pytest.raises(MeshApiError, match=r"^address: .*: write host:port, http://host:port, https://"):
        MeshApi(address)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": "http://u:secret@h"}, "address: has a user or a password in it"),
        ({"timeout": 0}, "timeout: 0 is out of range"),
        ({"timeout": 3601}, "timeout: 3601 is out of range"),
        ({"retries": -1}, "retries: -1 is out of range"),
        ({"token": "a\n"}, "token: has characters that no token has"),
        ({"token": "ä"}, "token: has characters that no token has"),
        ({"client_cert": "x"}, "client_cert and client_key go together"),
    ],
)
def test_a_bad_option_is_named_with_its_fix(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MeshApiError) as raised:
        MeshApi(**{"address": "h:1", **options})
    assert str(raised.value).startswith(message)
    assert "secret" not in str(raised.value)


# TLS, with a real agent that wants a client certificate


def test_https_with_a_client_certificate(open_agent: ApiAgent) -> None:
    assert MeshApi(**open_agent.secure).get("/v1/status/leader") == f"{open_agent.agent.host}:8300"
    no_scheme = {**open_agent.secure, "address": f"{open_agent.agent.host}:10443", "ssl": True}
    assert MeshApi(**no_scheme).get("/v1/status/leader")


def test_a_server_name_is_looked_for_in_the_certificate(open_agent: ApiAgent) -> None:
    assert MeshApi(**open_agent.secure, server_name="server.dc1.consul").get("/v1/status/leader")
    wrong = refusal(MeshApi(**open_agent.secure, server_name="server.dc2.consul"))
    assert "the agent's certificate is not trusted" in wrong
    assert wrong.endswith("and server_name to a name that is in it")


def test_without_a_client_certificate_the_error_names_the_options(open_agent: ApiAgent) -> None:
    text = refusal(MeshApi(open_agent.secure["address"], ca_file=open_agent.secure["ca_file"]))
    assert "the agent refused what was shown in TLS" in text
    assert "set client_cert and client_key (or CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY)" in text


def test_a_client_certificate_of_another_ca_is_refused(open_agent: ApiAgent, tmp_path: Path) -> None:
    run_mesh("tls", "ca", "create", cwd=tmp_path)
    run_mesh("tls", "cert", "create", "-cli", cwd=tmp_path)
    stranger = {
        "client_cert": str(tmp_path / "dc1-cli-consul-0.pem"),
        "client_key": str(tmp_path / "dc1-cli-consul-0-key.pem"),
    }
    assert "refused what was shown in TLS" in refusal(MeshApi(**{**open_agent.secure, **stranger}))
    wrong_ca = {**open_agent.secure, "ca_file": str(tmp_path / "consul-agent-ca.pem")}
    text = refusal(MeshApi(**wrong_ca))
    assert "the agent's certificate is not trusted" in text
    assert "set ca_file (or CONSUL_CACERT) to the CA of its certificate" in text
    assert MeshApi(**wrong_ca, validate_certs=False).get("/v1/status/leader")


def test_tls_to_a_plain_port_and_the_other_way_round(open_agent: ApiAgent) -> None:
    plain = {**open_agent.secure, "address": f"https://{open_agent.agent.host}:8500"}
    assert "does that port speak TLS? Else write http://" in refusal(MeshApi(**plain))
    secure = f"http://{open_agent.agent.host}:10443"
    assert refusal(MeshApi(secure)).endswith("an HTTP request to an HTTPS server: write https:// in address")


@pytest.mark.parametrize("option", ["ca_file", "client_cert", "client_key"])
@pytest.mark.parametrize("content", [None, "no pem"])
def test_a_file_that_cannot_be_used_is_named(
    open_agent: ApiAgent, tmp_path: Path, option: str, content: str | None
) -> None:
    path = tmp_path / "file.pem"
    if content:
        path.write_text(content)
    text = refusal(MeshApi(**{**open_agent.secure, option: str(path)}))
    assert text.startswith("ca_file: " if option == "ca_file" else "client_cert, client_key: ")
    assert str(path) in text


# The fragment


def test_the_fragment_documents_the_options_as_they_are() -> None:
    documented = yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    assert set(documented) == set(mesh_api.API_OPTIONS)
    for name, option in mesh_api.API_OPTIONS.items():
        for field in ("type", "default", "required"):
            assert documented[name].get(field) == option.get(field), f"{name}.{field}"


def test_modules_and_plugins_read_the_same_variables() -> None:
    plugin = yaml.safe_load(fragment.ModuleDocFragment.PLUGIN)["options"]
    described = yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    of_plugins = {name: option["env"][0]["name"] for name, option in plugin.items()}
    of_modules = {
        name: option["fallback"][1][0]
        for name, option in mesh_api.API_OPTIONS.items()
        if "fallback" in option
    }
    assert of_plugins == of_modules
    for name, variable in of_modules.items():
        assert f"E({variable})" in described[name]["description"][-1]


def test_the_client_needs_nothing_but_the_standard_library_and_ansible() -> None:
    script = (
        f"import sys; sys.path[:0] = [{str(ROOT / 'collections')!r}]\n"
        "from ansible_collections.meshnode.lab.plugins.module_utils import "
        "_acl, _catalog, _kv, _lock, _service, mesh_api\n"
        "print(sorted({'meshnode', 'cryptography', 'requests', 'httptools', 'msgpack'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")

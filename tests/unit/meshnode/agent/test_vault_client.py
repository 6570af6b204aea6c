"""Calls of Vault: every failure is a sentence, and the token goes nowhere else."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshnode.agent import vault_client
from meshnode.agent.vault_client import MAX_ANSWER_BYTES, MAX_CALLS, VaultClient, VaultError
from meshnode.connect.vault import VaultSettings
from tests.support.certs import make_ca, make_cert
from tests.support.vault_server import TOKEN, VaultServer


@pytest.fixture
def vault() -> Iterator[VaultServer]:
    with VaultServer() as server:
        yield server


def settings(vault: VaultServer, **changes: str) -> VaultSettings:
    return replace(VaultSettings(vault.address, TOKEN, "root", "inter"), **changes)


def read(path: str, found: VaultSettings) -> Any:
    return asyncio.run(VaultClient(found).read(path))


def refusal(path: str, found: VaultSettings) -> str:
    with pytest.raises(VaultError) as refused:
        read(path, found)
    assert TOKEN not in str(refused.value)
    return str(refused.value)


def test_an_answer_is_its_data_and_nothing_is_an_empty_one(vault: VaultServer) -> None:
    assert read("sys/mounts/secret", settings(vault)) == {"type": "kv"}

    async def scenario() -> None:
        client = VaultClient(settings(vault))
        assert await client.write("sys/mounts/pki", type="pki") == {}
        assert await client.read_text("pki/ca/pem") == ""
        assert TOKEN not in repr(client)

    asyncio.run(scenario())


def test_a_sealed_vault_and_one_that_refuses_say_what_to_do(vault: VaultServer) -> None:
    where = f"Vault at {vault.address}"
    vault.denied = ["sys/"]
    assert refusal("sys/mounts/secret", settings(vault)) == (
        f"{where} does not let us GET sys/mounts/secret: permission denied. "
        "The token must be valid, and its policies must allow that"
    )
    assert "permission denied" in refusal("sys/mounts/secret", settings(vault, token="s.wrong"))
    vault.sealed = True
    assert refusal("sys/mounts/secret", settings(vault)) == (
        f"{where} is sealed: unseal it, and this goes on by itself"
    )


def test_what_vault_says_is_told_in_one_line_without_the_token(vault: VaultServer) -> None:
    assert "No secret engine mount at none/" in refusal("sys/mounts/none", settings(vault))
    vault.say = (500, {}, b'{"errors": ["1 error:\\n\\t* ' + TOKEN.encode() + b' is \\u001b[1m bad"]}')
    assert "with status 500: 1 error: (token) is [1m bad" in refusal("x", settings(vault))
    vault.say = (500, {}, b"<html>" + b"x" * 5000)
    assert len(refusal("x", settings(vault))) < 500


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"{}", b'{"data": 1}', b"\xff", b"[" * 100_000], ids=lambda it: it[:8].hex()
)
def test_an_answer_of_somebody_else_is_an_error(vault: VaultServer, answer: bytes) -> None:
    vault.say = (200, {}, answer)
    assert "is it Vault?" in refusal("sys/mounts/secret", settings(vault))


def test_a_redirect_is_not_followed(vault: VaultServer) -> None:
    with VaultServer() as other:
        vault.say = (307, {"Location": f"{other.address}/v1/x"}, b"")
        said = refusal("sys/mounts/secret", settings(vault))
        assert f"sends us on to '{other.address}/v1/x': write the address of the active node" in said
        assert other.asked == []


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
def test_the_size_of_an_answer_is_bounded(vault: VaultServer, more: int, fits: bool) -> None:
    vault.say = (200, {}, b'{"data": {}}'.ljust(MAX_ANSWER_BYTES + more))
    if fits:
        assert read("x", settings(vault)) == {}
    else:
        assert f"more than {MAX_ANSWER_BYTES} bytes" in refusal("x", settings(vault))


def test_who_does_not_listen_is_told_with_the_reason(vault: VaultServer) -> None:
    vault.stop()
    assert refusal("x", settings(vault)).endswith(
        "can't be reached (connection refused): is it up, and is Address right?"
    )


def test_nobody_is_waited_for_without_end(vault: VaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = settings(vault, address=f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(vault_client, "READ_TIMEOUT", 0.1)
        assert "does not answer in time" in refusal("x", found)
        monkeypatch.setattr(vault_client, "READ_TIMEOUT", 1.0)
        monkeypatch.setattr(vault_client, "CALL_TIMEOUT", 0.1)
        assert "did not answer within 0.1 seconds" in refusal("x", found)


def test_the_calls_at_one_time_are_bounded_and_all_are_answered(
    vault: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 0
    handle = vault._handle

    def counted(*arguments: Any) -> Any:
        nonlocal most
        most = max(most, sum(thread.name == "vault" for thread in threading.enumerate()))
        return handle(*arguments)

    monkeypatch.setattr(vault, "_handle", counted)

    async def scenario() -> None:
        client = VaultClient(settings(vault))
        answers = await asyncio.gather(*(client.read("sys/mounts/secret") for _ in range(MAX_CALLS * 4)))
        assert answers == [{"type": "kv"}] * MAX_CALLS * 4

    asyncio.run(scenario())
    assert 1 <= most <= MAX_CALLS


def test_without_hvac_the_command_that_installs_it_is_told(
    vault: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "run pip install 'meshnode[vault]'" in refusal("x", settings(vault))


def test_the_environment_changes_nothing(vault: VaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "VAULT_ADDR"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("VAULT_TOKEN", "VAULT_NAMESPACE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, "other")
    assert read("sys/mounts/secret", settings(vault)) == {"type": "kv"}


# TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A listener that demands certificates, and a directory with ca, client, client-key and, apart, another CA."""
    directory = tmp_path_factory.mktemp("tls")
    ca, other = make_ca("Vault CA"), make_ca("Other CA")
    ca.write(directory, "ca")
    other.write(directory, "other")
    make_cert(["client"], ca).write(directory, "client")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_cert(["vault.internal"], ca).write(directory, "server"))
    context.load_verify_locations(directory / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    (directory / "cas").mkdir()
    ca.write(directory / "cas", "one")
    for file in (directory / "cas").glob("*-key.pem"):
        file.unlink()
    return context, directory


def test_with_tls_both_sides_are_verified(tls: tuple[ssl.SSLContext, Path]) -> None:
    context, directory = tls
    with VaultServer(tls=context) as vault:
        found = settings(
            vault,
            ca_file=str(directory / "ca.pem"),
            cert_file=str(directory / "client.pem"),
            key_file=str(directory / "client-key.pem"),
            tls_server_name="vault.internal",
        )
        assert read("sys/mounts/secret", found) == {"type": "kv"}
        by_directory = replace(found, ca_file="", ca_path=str(directory / "cas"))
        assert read("sys/mounts/secret", by_directory) == {"type": "kv"}
        asked = len(vault.asked)
        for changes, reason in (
            ({"ca_file": str(directory / "other.pem")}, "shows a certificate that isn't trusted"),
            ({"ca_file": ""}, "look at CAFile"),
            ({"tls_server_name": "vault.other"}, "look at TLSServerName"),
            ({"tls_server_name": ""}, "look at TLSServerName"),
            ({"cert_file": "", "key_file": ""}, "can't be reached"),
        ):
            assert reason in refusal("sys/mounts/secret", replace(found, **changes)), changes
        assert len(vault.asked) == asked, "no request, and so no token, before the certificate is trusted"
        plain = replace(found, address=vault.address.replace("https", "http"))
        assert "can't be reached" in refusal("sys/mounts/secret", plain)


def test_beside_the_configured_ca_no_other_is_trusted(tls: tuple[ssl.SSLContext, Path]) -> None:
    context, directory = tls

    async def scenario() -> None:
        client = VaultClient(
            settings(
                vault,
                ca_file=str(directory / "ca.pem"),
                cert_file=str(directory / "client.pem"),
                key_file=str(directory / "client-key.pem"),
                tls_server_name="vault.internal",
            )
        )
        await client.read("sys/mounts/secret")
        assert client._session is not None
        adapter: Any = client._session.get_adapter(vault.address)
        trusted = adapter.poolmanager.connection_pool_kw["ssl_context"].get_ca_certs()
        assert [dict(name[0] for name in each["subject"]) for each in trusted] == [{"commonName": "Vault CA"}]

    with VaultServer(tls=context) as vault:
        asyncio.run(scenario())


def test_tls_to_a_listener_without_it_is_told(vault: VaultServer) -> None:
    said = refusal("x", settings(vault, address=vault.address.replace("http", "https")))
    assert "can't be reached with TLS" in said
    assert "is Address right, http or https" in said


def test_a_file_that_can_not_be_used_is_named(vault: VaultServer, tls: Any, tmp_path: Path) -> None:
    directory = tls[1]
    bad = tmp_path / "bad.pem"
    bad.write_text("no PEM")
    for changes, reason in (
        ({"ca_file": str(bad)}, f"CAFile: {bad} can't be used: write PEM"),
        ({"ca_file": "/none"}, "CAFile: /none can't be read on this server: No such file"),
        ({"ca_path": "/none"}, "CAPath: /none can't be read"),
        ({"ca_path": str(tmp_path)}, f"CAPath: {bad} can't be used"),
        (
            {"cert_file": str(bad), "key_file": str(bad)},
            f"CertFile and KeyFile: {bad} and {bad} can't be used",
        ),
        ({"cert_file": str(directory / "client.pem"), "key_file": "/none"}, "/none can't be read"),
    ):
        assert reason in refusal("x", settings(vault, **changes)), changes

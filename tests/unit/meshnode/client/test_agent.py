from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from meshnode.base.errors import ConfigError
from meshnode.client.agent import MAX_CALLS, MAX_IDLE, MAX_IDLE_AGE, AgentClient
from meshnode.client.answer import AgentUnreachable, ApiError
from meshnode.client.settings import ApiSettings
from meshnode.runtime.tasks import spawn
from tests.support.asynchronous import asynchronous
from tests.support.certs import make_ca, make_cert
from tests.support.http_stub import stub_agent
from tests.support.scripted_agent import Asked, HangUpError, Reply, reply
from tests.support.wire import free_port
from tests.unit.meshnode.client.connecting import connected, hello


@asynchronous
async def test_calls_share_one_connection() -> None:
    async with connected(hello, settings={"token": "secret"}) as (client, agent):
        assert await client.get_json("/v1/a", {"q": "x y"}) == {"path": "/v1/a", "body": ""}
        assert (await client.put_json("/v1/b", {"k": 1}))["body"] == '{"k": 1}'
        assert (await client.post_json("/v1/c", b"raw"))["body"] == "raw"
        assert agent.connections == 1
        assert agent.asked[0].query == [("q", "x y")]
        assert agent.asked[0].headers["x-consul-token"] == "secret"
        assert "secret" not in repr(client)


@asynchronous
async def test_calls_at_once_have_connections_of_their_own_and_few_are_kept() -> None:
    gate, waiting = asyncio.Event(), asyncio.Semaphore(0)

    async def slow(asked: Asked) -> Reply:
        waiting.release()
        await gate.wait()
        return reply(1)

    async with connected(slow) as (client, agent):
        calls = [spawn(client.get_json("/"), name="test") for _ in range(MAX_CALLS + 3)]
        for _ in range(MAX_CALLS):
            await asyncio.wait_for(waiting.acquire(), 10)
        assert agent.connections == MAX_CALLS, "three calls wait for their turn"
        gate.set()
        assert await asyncio.gather(*calls) == [1] * (MAX_CALLS + 3)
        assert len(client._idle) == MAX_IDLE


@asynchronous
async def test_a_connection_that_was_closed_meanwhile_is_noticed() -> None:
    async with connected(hello) as (client, agent):
        await client.get_json("/1")
        agent.drop_all()
        assert (await client.get_json("/2"))["path"] == "/2"
        assert agent.connections == 2


@pytest.mark.parametrize(
    ("method", "path", "repeated"),
    [
        ("GET", "/fragile", True),
        ("PUT", "/fragile", True),
        ("POST", "/fragile", False),
        ("POST", "/v1/agent/connect/authorize", True),
    ],
)
@asynchronous
async def test_a_request_that_met_a_closing_connection_is_sent_again_unless_it_must_not(
    method: str, path: str, repeated: bool
) -> None:
    async def once(asked: Asked) -> Reply:
        if asked.path == path and asked.connection == 1:
            raise HangUpError
        return await hello(asked)

    async with connected(once) as (client, agent):
        await client.get_json("/first")
        if repeated:
            assert (await client.call(method, path)).status == 200
        else:
            with pytest.raises(AgentUnreachable, match="closed the connection"):
                await client.call(method, path)
        assert [asked.path for asked in agent.asked].count(path) == (2 if repeated else 1)


@asynchronous
async def test_a_first_connection_that_is_closed_is_not_tried_for_ever() -> None:
    async def never(asked: Asked) -> Reply:
        raise HangUpError

    async with connected(never) as (client, agent):
        with pytest.raises(AgentUnreachable, match="closed the connection before its answer was whole"):
            await client.get_json("/")
        assert agent.connections == 1


@asynchronous
async def test_an_old_idle_connection_is_not_used() -> None:
    now = [0.0]
    async with connected(hello, clock=lambda: now[0]) as (client, agent):
        await client.get_json("/")
        now[0] = MAX_IDLE_AGE - 1
        await client.get_json("/")
        assert agent.connections == 1
        now[0] += MAX_IDLE_AGE
        await client.get_json("/")
        assert agent.connections == 2


@asynchronous
async def test_silence_is_a_timeout_and_the_connection_is_given_up() -> None:
    async def silent(asked: Asked) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    async with connected(silent) as (client, _):
        with pytest.raises(AgentUnreachable, match="did not answer in time"):
            await client.call("GET", "/", timeout=0.05)
        assert client._idle == []


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"SSH-2.0-x\r\n", "does not speak HTTP: does it speak TLS"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", "before its answer was whole"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101, "more than 100 bytes"),
    ],
)
@asynchronous
async def test_answers_that_are_none(raw: bytes, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshnode.client.wire.MAX_ANSWER_BYTES", 100)

    async def bad(asked: Asked) -> Reply:
        return Reply(raw, close=True)

    async with connected(bad) as (client, _):
        with pytest.raises(AgentUnreachable, match=words):
            await client.get_json("/")


@asynchronous
async def test_an_answer_at_the_bound_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshnode.client.wire.MAX_ANSWER_BYTES", 100)

    async def big(asked: Asked) -> Reply:
        return reply(b"x" * 100)

    async with connected(big) as (client, _):
        assert len((await client.call("GET", "/")).body) == 100


@pytest.mark.parametrize("method", ["get_json", "put_json", "post_json"])
@asynchronous
async def test_a_status_other_than_200_is_an_error_with_its_text(method: str) -> None:
    async def refuse(asked: Asked) -> Reply:
        return reply(b"Permission denied", status=403)

    async with connected(refuse) as (client, _):
        arguments = ("/x",) if method == "get_json" else ("/x", None)
        with pytest.raises(ApiError, match=r"403 \(Permission denied\)"):
            await getattr(client, method)(*arguments)
        assert (await client.call("GET", "/x")).status == 403


@asynchronous
async def test_nobody_there_says_what_to_set() -> None:
    for address in (
        f"http://127.0.0.1:{free_port()}",
        "unix:///nowhere/api.sock",
        "http://no-such.invalid:1",
    ):
        client = AgentClient(ApiSettings(address=address))
        with pytest.raises(AgentUnreachable, match=r"can't reach the agent .* CONSUL_HTTP_ADDR"):
            await client.get_json("/")


@asynchronous
async def test_a_unix_socket_is_an_address(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
        writer.close()

    async with await asyncio.start_unix_server(serve, path):
        client = AgentClient(ApiSettings(address=f"unix://{path}"))
        assert await client.get_json("/") == 1
        await client.close()


@asynchronous
async def test_tls_is_verified_with_the_files_of_the_settings(tmp_path: Path) -> None:
    import ssl

    ca = make_ca()
    ca_file, _ = ca.write(tmp_path, "ca")
    certificate, key = make_cert(["127.0.0.1"], ca).write(tmp_path, "own")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    with stub_agent(context) as stub:
        stub.answer("GET /x", {"a": 1})
        address = f"https://{stub.address}"
        pair = {"client_cert": certificate, "client_key": key}
        trusting = AgentClient(ApiSettings(address=address, ca_file=ca_file, **pair))
        assert await trusting.get_json("/x") == {"a": 1}
        await trusting.close()
        with pytest.raises(AgentUnreachable, match="CONSUL_CACERT"):
            await AgentClient(ApiSettings(address=address, **pair)).get_json("/x")
        with pytest.raises(AgentUnreachable, match="CONSUL_CLIENT_CERT"):
            await AgentClient(ApiSettings(address=address, ca_file=ca_file)).get_json("/x")


def test_settings_that_cannot_be_used_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match="not an address"):
        AgentClient(ApiSettings(address="nonsense"))
    with pytest.raises(ConfigError, match="token"):
        AgentClient(ApiSettings(address="http://a:1", token="a\nb"))


@asynchronous
async def test_a_closed_client_asks_nothing() -> None:
    async with connected(hello) as (client, agent):
        await client.close()
        with pytest.raises(AgentUnreachable, match="closed"):
            await client.get_json("/")
        assert agent.asked == []

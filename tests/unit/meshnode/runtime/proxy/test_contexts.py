"""Who gets which kind of ticket, how much is remembered for it, and what a client does with those that don't help."""

from __future__ import annotations

import ssl

import pytest

from meshnode.runtime.proxy import contexts as module
from meshnode.runtime.proxy.contexts import MAX_MISSES, Contexts, Sessions, make_contexts
from tests.support.proxy import Ca

CA = Ca()
KEY = ("spiffe", "127.0.0.1", 1)


@pytest.fixture
def api() -> Contexts:
    return make_contexts(CA.leaf("api"))


@pytest.fixture
def web() -> Contexts:
    return make_contexts(CA.leaf("web"))


class Shaken:
    """A handshake of ``web`` with ``api`` in memory, and what came of it."""

    def __init__(
        self, api: Contexts, client: ssl.SSLContext, session: ssl.SSLSession | None, now: float
    ) -> None:
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(to_client, to_server, session=session)
        with pytest.raises(ssl.SSLWantReadError):
            self.client.do_handshake()
        hello = to_server.read()
        to_server.write(hello)
        self.context = api.server_for(hello, now)
        self.server = self.context.wrap_bio(to_server, to_client, server_side=True)
        for side in (self.server, self.client, self.server, self.client):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
        self.server.write(b"x")
        assert self.client.read(1) == b"x"

    @property
    def reused(self) -> bool:
        return bool(self.server.session_reused)


def kept(api: Contexts) -> int:
    return api.keeping.session_stats()["number"]


def test_a_session_that_is_kept_is_resumed_again_and_again_and_takes_no_more_room(
    api: Contexts, web: Contexts
) -> None:
    first = Shaken(api, web.client, None, 0.0)
    assert (first.reused, first.context is api.keeping, kept(api)) == (False, True, 1)
    # Those that come now and then get a new number, of which there are as many as of first ones.
    for _ in range(module.KEPT_BURST):
        assert api._renewed.take(0.0)
    for _ in range(3):
        again = Shaken(api, web.client, first.client.session, 0.0)
        assert (again.reused, again.context is api.keeping, kept(api)) == (True, True, 1)
        assert again.client.getpeercert(binary_form=True) == first.client.getpeercert(binary_form=True)
        assert again.server.getpeercert(binary_form=True) == first.server.getpeercert(binary_form=True)
        _close(again.server)


def _close(server: ssl.SSLObject) -> None:
    """As a flow ends: OpenSSL forgets the session otherwise."""
    with pytest.raises(ssl.SSLWantReadError):
        server.unwrap()


def test_only_so_many_sessions_are_kept_and_the_next_client_resumes_with_a_sealed_one(
    api: Contexts, web: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_BURST", 3)
    api = make_contexts(CA.leaf("api"))
    living = [Shaken(api, web.client, None, 0.0) for _ in range(4)]
    assert [item.context is api.keeping for item in living] == [True, True, True, False]
    assert kept(api) == 3
    again = Shaken(api, web.client, living[-1].client.session, 0.0)
    assert (again.reused, again.context is api.server) == (True, True)
    later = Shaken(api, web.client, None, module.KEPT_INTERVAL)
    assert later.context is api.keeping
    assert Shaken(api, web.client, None, module.KEPT_INTERVAL).context is api.server


def test_a_client_of_tls_1_2_is_served_and_nothing_is_kept_for_it(api: Contexts, web: Contexts) -> None:
    web.client.maximum_version = ssl.TLSVersion.TLSv1_2
    found = Shaken(api, web.client, None, 0.0)
    assert (found.server.version(), found.context is api.server, kept(api)) == ("TLSv1.2", True, 0)


def test_a_number_that_another_server_gave_ends_in_a_full_handshake_and_a_new_number(
    api: Contexts, web: Contexts
) -> None:
    other = make_contexts(CA.leaf("api"))
    elsewhere = Shaken(other, web.client, None, 0.0)
    here = Shaken(api, web.client, elsewhere.client.session, 0.0)
    assert (here.reused, kept(api)) == (False, 1)
    again = Shaken(api, web.client, here.client.session, 0.0)
    assert again.reused


def test_a_session_that_does_not_help_is_forgotten_and_one_that_does_is_not(
    api: Contexts, web: Contexts
) -> None:
    session = Shaken(api, web.client, None, 0.0).client.session
    sessions = Sessions()
    sessions.put(KEY, session, 0.0)
    for _ in range(MAX_MISSES - 1):
        sessions.offered(KEY, reused=False)
    sessions.offered(KEY, reused=True)
    for _ in range(MAX_MISSES - 1):
        sessions.offered(KEY, reused=False)
    assert sessions.get(KEY, 0.0) is session
    sessions.offered(KEY, reused=False)
    assert sessions.get(KEY, 0.0) is None


def test_sessions_are_bounded_and_the_oldest_goes(
    api: Contexts, web: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SESSIONS", 2)
    session = Shaken(api, web.client, None, 0.0).client.session
    sessions = Sessions()
    keys = [("spiffe", "127.0.0.1", port) for port in (1, 2, 3)]
    for key in keys:
        sessions.put(key, session, 0.0)
    assert [sessions.get(key, 0.0) is session for key in keys] == [False, True, True]
    assert sessions.get(keys[2], module.MAX_SESSION_AGE + 1.0) is None

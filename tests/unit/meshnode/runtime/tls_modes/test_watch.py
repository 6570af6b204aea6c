"""Files that are replaced are taken up once they fit together; until then the old ones stay, and that is said once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meshnode.base.errors import ConfigError
from meshnode.proxy.config import Endpoint
from meshnode.runtime.tls_modes.material import Material
from meshnode.runtime.tls_modes.watch import MaterialWatch
from meshnode.tls_modes.model import CertificateFiles, Mode, TlsListener, TlsProxyConfig, TlsUpstream
from tests.support.tls_modes import Files


class Watched:
    def __init__(self, folder: Path) -> None:
        self.files = Files(folder)
        self.cert, self.key = self.files.pair("a", "localhost")
        one = TlsListener(
            "x", Endpoint("127.0.0.1", 1), Mode.TERMINATE, TlsUpstream(Endpoint("127.0.0.1", 2)),
            CertificateFiles(self.cert, self.key),
        )  # fmt: skip
        self.got: list[Mapping[str, Material]] = []
        self.watch = MaterialWatch(TlsProxyConfig((one,)), self.got.append, lambda: datetime.now(UTC))

    def put(self, path: str, other: str) -> None:
        Path(path).write_bytes(Path(other).read_bytes())


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    made = Watched(tmp_path)
    made.watch.read()
    return made


def test_nothing_happens_while_nothing_changes(watched: Watched) -> None:
    assert [watched.watch.look() for _ in range(3)] == [False] * 3
    assert watched.got == []


def test_a_new_pair_is_handed_over_once(watched: Watched) -> None:
    watched.files.pair("a", "localhost")
    assert [watched.watch.look(), watched.watch.look()] == [True, False]
    assert [list(each) for each in watched.got] == [["x"]]


def test_half_a_pair_waits_and_is_complained_about_at_the_second_look_and_once(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = watched.files.pair("b", "localhost")
    watched.put(watched.cert, cert)
    with caplog.at_level(logging.ERROR):
        assert not watched.watch.look()
        assert caplog.messages == []
        assert [watched.watch.look() for _ in range(3)] == [False] * 3
    (said,) = caplog.messages
    assert said.startswith(
        "the certificates are not replaced, the old ones stay: listener.x.certificate.key_file"
    )
    watched.put(watched.key, key)
    assert watched.watch.look()
    assert len(watched.got) == 1


def test_a_pair_that_is_whole_at_the_second_look_is_not_complained_about(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = watched.files.pair("b", "localhost")
    watched.put(watched.cert, cert)
    with caplog.at_level(logging.ERROR):
        assert not watched.watch.look()
        watched.put(watched.key, key)
        assert watched.watch.look()
    assert caplog.messages == []


def test_a_file_that_is_gone_leaves_the_old_one_and_is_taken_up_when_it_is_back(watched: Watched) -> None:
    content = Path(watched.key).read_bytes()
    Path(watched.key).unlink()
    assert [watched.watch.look() for _ in range(3)] == [False] * 3
    Path(watched.key).write_bytes(content)
    assert watched.watch.look()


def test_the_first_reading_says_what_is_wrong(tmp_path: Path) -> None:
    made = Watched(tmp_path)
    Path(made.key).write_text("nothing")
    with pytest.raises(ConfigError, match="this is not a private key"):
        made.watch.read()

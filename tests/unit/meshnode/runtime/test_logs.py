from __future__ import annotations

import json
import logging
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.base.errors import ConfigError
from meshnode.runtime.logs import LEVELS, MAX_HELD_LINES, MAX_KEPT_LINES, TRACE, LogHub, parse_level

_log = logging.getLogger("meshnode.test")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger("meshnode")
    before = root.handlers[:], root.level, root.propagate
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, root.propagate = before[0], before[2]
    root.setLevel(before[1])


def installed(level: str = "INFO", *, as_json: bool = False) -> LogHub:
    hub = LogHub(parse_level(level), as_json=as_json)
    hub.install()
    return hub


def test_who_speaks_may_be_left_out_of_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    LogHub(parse_level("INFO"), with_source=False).install()
    _log.info("text")
    assert re.fullmatch(r"    \S+ \S+ \[INFO\] text\n", capsys.readouterr().out)


@pytest.mark.parametrize("name", LEVELS)
def test_levels_are_read_in_any_case(name: str) -> None:
    assert parse_level(name.lower()) == LEVELS[name]


def test_two_levels_have_a_second_name_and_others_are_refused() -> None:
    assert (parse_level("error"), parse_level("Warning")) == (logging.ERROR, logging.WARNING)
    with pytest.raises(ConfigError, match="Unknown log level: loud"):
        parse_level("loud")


def test_a_line_is_in_consuls_format(capsys: pytest.CaptureFixture[str]) -> None:
    installed("TRACE")
    for level, name in (
        (TRACE, "TRACE"),
        (10, "DEBUG"),
        (20, "INFO"),
        (30, "WARN"),
        (40, "ERR"),
        (50, "ERR"),
    ):
        _log.log(level, "a %s", "b")
        line = capsys.readouterr().out
        assert re.fullmatch(rf"    \d{{4}}/\d\d/\d\d \d\d:\d\d:\d\d \[{name}\] test: a b\n", line)


def test_json_lines_are_objects(capsys: pytest.CaptureFixture[str]) -> None:
    installed(as_json=True)
    _log.warning('it\'s "quoted"')
    record = json.loads(capsys.readouterr().out)
    assert (record["@level"], record["@message"], record["@module"]) == ("warn", 'it\'s "quoted"', "test")


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("GET /v1/kv/a?token=abcd-efgh&dc=x", "abcd-efgh"),
        ('{"encrypt": "pUqJrVyVRj5jsiYEkM/tFQ=="}', "pUqJrVyVRj5jsiYEkM"),
        ("encrypt = pUqJrVyVRj5jsiYEkM/tFQ==", "pUqJrVyVRj5jsiYEkM"),
        ('{"Key":"pUqJrVyVRj5jsiYEkM/tFQ=="}', "pUqJrVyVRj5jsiYEkM"),
        ("token: b1gs33cr3tb1gs33cr3t", "b1gs33cr3t"),
        ("Authorization: Bearer abc.def", "abc.def"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----", "MHcCAQEE"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_secrets_are_masked_wherever_a_line_goes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, secret: str, as_json: bool
) -> None:
    hub = installed(as_json=as_json)
    hub.add_file(str(tmp_path / "log"), 0, 0)
    seen: list[str] = []
    hub.attach(logging.INFO, seen.append)
    _log.info("%s", text)
    for written in (capsys.readouterr().out, (tmp_path / "log").read_text(), seen[0]):
        assert secret not in written
        assert "<hidden>" in written


def test_fingerprints_and_paths_stay_readable(capsys: pytest.CaptureFixture[str]) -> None:
    installed()
    _log.info("key 1a2b3c4d is primary; key_file: /etc/consul/key.pem")
    assert "<hidden>" not in capsys.readouterr().out


def test_a_record_is_one_line_whatever_a_peer_puts_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    installed()
    _log.info("node %s joined", "x\n    2020/01/01 [ERR] agent: forged\x1b[2J")
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "x\\n    2020" in out
    assert "\x1b" not in out


def test_an_exception_adds_its_type_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    installed()
    try:
        raise KeyError("inner")
    except KeyError:
        _log.exception("it failed")
    assert capsys.readouterr().out.endswith("test: it failed (KeyError)\n")


def test_the_level_filters_and_can_be_changed(capsys: pytest.CaptureFixture[str]) -> None:
    hub = installed("WARN")
    _log.info("one")
    hub.set_level(logging.DEBUG)
    _log.debug("two")
    out = capsys.readouterr().out
    assert "one" not in out
    assert "two" in out


def test_lines_wait_for_the_banner(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    hub = installed()
    hub.add_file(str(tmp_path / "log"), 0, 0)
    hub.hold_lines()
    _log.info("early")
    assert capsys.readouterr().out == ""
    assert "early" in (tmp_path / "log").read_text()
    hub.release_lines()
    hub.release_lines()
    _log.info("late")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == ["early", "late"]


@pytest.mark.parametrize(("count", "waits"), [(MAX_HELD_LINES, True), (MAX_HELD_LINES + 1, False)])
def test_what_waits_is_bounded(capsys: pytest.CaptureFixture[str], count: int, waits: bool) -> None:
    hub = installed()
    hub.hold_lines()
    for number in range(count):
        _log.info("%d", number)
    assert (capsys.readouterr().out == "") == waits


def test_a_monitor_gets_what_was_kept_and_then_its_own_level(capsys: pytest.CaptureFixture[str]) -> None:
    hub = installed("INFO")
    _log.info("before")
    _log.warning("louder")
    seen: list[str] = []
    key = hub.attach(logging.DEBUG, seen.append)
    _log.debug("only for the monitor")
    hub.detach(key)
    _log.debug("for nobody")
    _log.info("after")
    assert [line.split("test: ")[1] for line in seen] == ["before", "louder", "only for the monitor"]
    assert not seen[0].startswith(" ")
    assert "only for the monitor" not in capsys.readouterr().out


def test_a_monitor_of_a_higher_level_gets_only_that() -> None:
    hub = installed("DEBUG")
    _log.info("kept")
    seen: list[str] = []
    hub.attach(logging.WARNING, seen.append)
    _log.info("low")
    _log.error("high")
    assert [line.split()[-1] for line in seen] == ["high"]


@pytest.mark.parametrize("count", [MAX_KEPT_LINES, MAX_KEPT_LINES + 1])
def test_the_kept_lines_are_bounded(count: int) -> None:
    hub = installed()
    for number in range(count):
        _log.info("%d", number)
    seen: list[str] = []
    hub.attach(logging.INFO, seen.append)
    assert len(seen) == MAX_KEPT_LINES
    assert seen[0].endswith(f" {count - MAX_KEPT_LINES}")


def test_a_sink_that_fails_loses_lines_and_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Closed:
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    hub = installed()
    hub.add_file(str(tmp_path / "log"), 0, 0)
    monkeypatch.setattr("sys.stdout", Closed())
    _log.info("still here")
    assert "still here" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(("max_files", "stay"), [(0, 4), (2, 2), (-1, 0)])
def test_a_file_is_rotated_by_size_and_old_ones_are_pruned(tmp_path: Path, max_files: int, stay: int) -> None:
    hub = installed()
    hub.add_file(str(tmp_path / "log"), 100, 0, max_files)
    for number in range(9):
        _log.info("%s %d", "x" * 10, number)
    assert len(list(tmp_path.glob("log-*"))) == stay
    assert (tmp_path / "log").read_text().endswith("x 8\n")


def test_a_file_is_rotated_by_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = installed()
    hub.add_file(str(tmp_path / "log"), 0, 60)
    _log.info("old")
    later = __import__("time").time() + 61
    monkeypatch.setattr("meshnode.runtime.logs.time.time", lambda: later)
    _log.info("new")
    assert [p.read_text().split()[-1] for p in sorted(tmp_path.iterdir())] == ["new", "old"]


def test_a_file_that_cannot_be_written_is_named() -> None:
    with pytest.raises(ConfigError, match="log_file: can't write /nowhere/log: No such file"):
        LogHub(logging.INFO).add_file("/nowhere/log", 0, 0)


def test_syslog_gets_the_line_with_facility_and_severity(tmp_path: Path) -> None:
    path = str(tmp_path / "syslog")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(path)
        daemon.settimeout(5)
        hub = installed()
        hub.add_syslog("LOCAL3", path)
        _log.warning("watch out")
        datagram = daemon.recv(1000)
    assert datagram.startswith(b"<156>")  # 19 * 8 + 4: local3, warning (RFC 5424 6.2.1)
    assert b"[WARN] test: watch out" in datagram


@pytest.mark.parametrize(("facility", "key"), [("NONSENSE", "syslog_facility"), ("LOCAL0", "enable_syslog")])
def test_no_syslog_is_an_error_of_the_configuration(facility: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LogHub(logging.INFO).add_syslog(facility, "/nowhere/log")
    assert caught.value.key == key


def test_threads_may_log() -> None:
    hub = installed()
    seen: list[str] = []
    hub.attach(logging.INFO, seen.append)
    threads = [threading.Thread(target=_log.info, args=("t",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8

"""``tls-proxy`` before anything listens: what is printed, and what is refused in which words."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from meshnode.cli.tls_proxy import MAX_CONFIG_BYTES, run
from tests.support.programs import needs
from tests.support.tls_modes import Files

OLD = "envoy  version: 0123456789abcdef0123456789abcdef01234567/1.20.7/Clean/RELEASE/BoringSSL"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def configuration(files: Files, **settings: Any) -> str:
    one = {
        "bind": "127.0.0.1:1",
        "mode": "bridge",
        "certificate": files.certificate(),
        "upstream": {"address": "service:443", "ca_file": files.ca_file},
    }
    file = files.folder / "t.json"
    file.write_text(json.dumps({"listener": {"x": {**one, **settings}}}))
    return str(file)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(list(arguments)) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("==> Error preparing configuration: ")
    assert "Traceback" not in shown.err
    return shown.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "-config-file is missing: name the file with the listeners"),
        (("-config-file", "none.json"), "Failed to read file: 'none.json': No such file or directory"),
        (
            ("-config-file", "x", "-data-plane", "nginx"),
            "-data-plane: 'nginx' is none: write builtin or envoy",
        ),
        (("-config-file", "x", "-secrets-dir", "y"), "-secrets-dir is of use only with -print-envoy"),
        (("-config-file", "x", "-nonsense"), "nonsense"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert said in refused(capsys, *arguments)


def test_a_file_that_is_no_text_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "t.hcl"
    file.write_bytes(b"\xff\xfe")
    assert f"{file}: it is not UTF-8 text" in refused(capsys, "-config-file", str(file))


def test_a_file_that_is_far_too_long_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "t.hcl"
    file.write_bytes(b"#" * MAX_CONFIG_BYTES)
    assert "listener: is missing" in refused(capsys, "-config-file", str(file))
    file.write_bytes(b"#" * (MAX_CONFIG_BYTES + 1))
    assert f"longer than {MAX_CONFIG_BYTES} bytes" in refused(capsys, "-config-file", str(file))


def test_paths_begin_in_the_folder_of_the_file(
    capsys: pytest.CaptureFixture[str], files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = {"cert_file": "proxy.pem", "key_file": "proxy-key.pem"}
    file = configuration(files, certificate=pair)
    monkeypatch.chdir("/")
    assert run(["-config-file", file, "-validate"]) == 0
    assert capsys.readouterr().out == "Configuration is valid! (1 listener, data plane builtin)\n"


def test_validate_reads_the_certificates_and_names_what_is_wrong(
    capsys: pytest.CaptureFixture[str], files: Files
) -> None:
    _, other = files.pair("other", "localhost")
    file = configuration(files, certificate={**files.certificate(), "key_file": other})
    assert "listener.x.certificate.key_file" in refused(capsys, "-config-file", file, "-validate")
    expired = dict(zip(("cert_file", "key_file"), files.pair("old", "localhost", days=-0.5), strict=True))
    assert run(["-config-file", configuration(files, certificate=expired), "-validate"]) == 0
    assert capsys.readouterr().out.startswith("Warning: listener.x.certificate.cert_file: ")


def test_what_only_envoy_can_do_is_refused_for_the_built_in_proxy(
    capsys: pytest.CaptureFixture[str], files: Files
) -> None:
    file = configuration(files, certificate={"sds_file": "/run/sds.json", "sds_name": "x"})
    assert "or use -data-plane envoy" in refused(capsys, "-config-file", file, "-validate")


def test_the_bootstrap_is_printed_with_and_without_secrets(
    capsys: pytest.CaptureFixture[str], files: Files, tmp_path: Path
) -> None:
    file, folder = configuration(files), tmp_path / "secrets"
    assert run(["-config-file", file, "-print-envoy"]) == 0
    assert "/secrets" not in capsys.readouterr().out
    assert run(["-config-file", file, "-print-envoy", "-secrets-dir", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["node"] == {"id": "tls-proxy", "cluster": "tls-proxy"}
    made = sorted(folder.iterdir())
    assert [each.name for each in made] == ["x.authorities.json", "x.certificate.json"]
    assert {each.stat().st_mode & 0o777 for each in made} == {0o600}


def program(folder: Path, text: str) -> str:
    file = folder / "envoy"
    file.write_text(f"#!/bin/sh\n{text}\n")
    os.chmod(file, 0o755)
    return str(file)


def validated_by(binary: str, files: Files) -> tuple[str, ...]:
    """The words that have a program called Envoy look at the configuration."""
    given = ("-config-file", configuration(files), "-data-plane", "envoy")
    return (*given, "-envoy-binary", binary, "-validate")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"echo '{OLD}'", "is Envoy 1.20.7: 1.34 or later is needed"),
        ("echo hello", "does not say that it is Envoy: name another with -envoy-binary"),
        ("exit 3", "does not say that it is Envoy"),
    ],
)
def test_a_program_that_is_no_envoy_or_an_old_one_is_refused(
    capsys: pytest.CaptureFixture[str], files: Files, text: str, said: str
) -> None:
    assert said in refused(capsys, *validated_by(program(files.folder, text), files))


def test_a_node_without_envoy_is_told(capsys: pytest.CaptureFixture[str], files: Files) -> None:
    said = refused(capsys, *validated_by("no-envoy", files))
    assert "-envoy-binary: there is no program no-envoy" in said


@needs("envoy")
def test_envoy_itself_says_that_a_configuration_is_valid(
    capsys: pytest.CaptureFixture[str], files: Files
) -> None:
    assert run(["-config-file", configuration(files), "-data-plane", "envoy", "-validate"]) == 0
    assert capsys.readouterr().out == "Configuration is valid! (1 listener, data plane envoy)\n"

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from meshnode.base.errors import ConfigError, MeshError
from meshnode.cli import tls
from meshnode.cli.main import main
from meshnode.cli.tls import run
from tests.support.openssl import openssl, refuses, verify_strictly

CA, CA_KEY = Path("consul-agent-ca.pem"), Path("consul-agent-ca-key.pem")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def text_of(path: str | Path) -> str:
    return openssl("x509", "-noout", "-text", "-in", path)


def mode_of(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_ca_is_saved_under_consul_s_names_with_consul_s_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tls", "ca", "create"]) == 0
    assert capsys.readouterr().out == "==> Saved consul-agent-ca.pem\n==> Saved consul-agent-ca-key.pem\n"
    assert mode_of(CA_KEY) == 0o600
    assert openssl("x509", "-noout", "-pubkey", "-in", CA) == openssl("pkey", "-pubout", "-in", CA_KEY)
    text = text_of(CA)
    assert "CA:TRUE" in text
    assert "Consul Agent CA" in text
    openssl("verify", "-x509_strict", "-check_ss_sig", "-CAfile", CA, CA)


def test_server_certificate_with_its_warning(capsys: pytest.CaptureFixture[str]) -> None:
    run(["ca", "create"])
    capsys.readouterr()
    assert main(["tls", "cert", "create", "-server"]) == 0
    assert capsys.readouterr().out == (
        "==> WARNING: Server Certificates grants authority to become a\n"
        "    server and access all state in the cluster including root keys\n"
        "    and all ACL tokens. Do not distribute them to production hosts\n"
        "    that are not server nodes. Store them as securely as CA keys.\n"
        "==> Using consul-agent-ca.pem and consul-agent-ca-key.pem\n"
        "==> Saved dc1-server-consul-0.pem\n"
        "==> Saved dc1-server-consul-0-key.pem\n"
    )
    assert mode_of("dc1-server-consul-0-key.pem") == 0o600
    verify_strictly(CA, Path("dc1-server-consul-0.pem"), "-purpose", "sslserver")
    verify_strictly(CA, Path("dc1-server-consul-0.pem"), "-verify_hostname", "server.dc1.consul")
    assert "DNS:server.dc1.consul, DNS:localhost, IP Address:127.0.0.1\n" in text_of(
        "dc1-server-consul-0.pem"
    )


@pytest.mark.parametrize("kind", ["client", "cli"])
def test_certificates_of_others_come_without_the_warning(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["ca", "create"])
    capsys.readouterr()
    run(["cert", "create", f"-{kind}", "-dc", "east"])
    out = capsys.readouterr().out
    assert out.splitlines()[1:] == [
        f"==> Saved east-{kind}-consul-0.pem",
        f"==> Saved east-{kind}-consul-0-key.pem",
    ]
    verify_strictly(CA, Path(f"east-{kind}-consul-0.pem"), "-purpose", "sslclient")
    assert f"DNS:{kind}.east.consul, DNS:localhost" in text_of(f"east-{kind}-consul-0.pem")


def test_numbers_go_up_and_nothing_is_overwritten() -> None:
    run(["ca", "create"])
    run(["cert", "create", "-client"])
    first = Path("dc1-client-consul-0.pem").read_text()
    run(["cert", "create", "-client"])
    assert Path("dc1-client-consul-0.pem").read_text() == first
    assert Path("dc1-client-consul-1.pem").read_text() != first
    Path("dc1-client-consul-2-key.pem").touch()
    run(["cert", "create", "-client"])
    assert Path("dc1-client-consul-3.pem").exists()


@pytest.mark.parametrize("existing", [CA, CA_KEY])
def test_existing_ca_is_left_alone(existing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    existing.write_text("precious")
    assert main(["tls", "ca", "create"]) == 1
    assert capsys.readouterr().err == f"{existing} already exists.\n"
    assert existing.read_text() == "precious"
    assert [path.name for path in Path().iterdir()] == [existing.name]


def test_file_is_not_written_through_a_link() -> None:
    Path("elsewhere").touch()
    CA_KEY.symlink_to("elsewhere")
    with pytest.raises(MeshError, match="already exists"):
        run(["ca", "create"])
    assert Path("elsewhere").read_text() == ""


def test_further_names_and_another_domain() -> None:
    run(["ca", "create", "-domain", "mesh.example", "-days=30"])
    run(["cert", "create", "-server", "-domain=mesh.example", "-node", "n1", "-additional-dnsname", "a.example",
         "-additional-dnsname", "b.example", "-additional-ipaddress", "10.0.0.9", "-days", "7"])  # fmt: skip
    text = text_of("dc1-server-mesh.example-0.pem")
    assert "DNS:a.example, DNS:b.example, DNS:n1.server.dc1.mesh.example, DNS:server.dc1.mesh.example" in text
    assert "IP Address:10.0.0.9, IP Address:127.0.0.1" in text
    verify_strictly(Path("mesh.example-agent-ca.pem"), Path("dc1-server-mesh.example-0.pem"))


def test_name_constraints_are_in_the_ca_and_hold() -> None:
    run(["ca", "create", "-name-constraint", "-additional-name-constraint", "extra.example"])
    assert (
        "Permitted:\n                  DNS:extra.example\n                  DNS:consul\n                  DNS:localhost"
        in text_of(CA)
    )
    run(["cert", "create", "-server", "-additional-dnsname", "www.extra.example"])
    verify_strictly(CA, Path("dc1-server-consul-0.pem"))
    run(["cert", "create", "-server", "-additional-dnsname", "www.other.example"])
    assert "permitted subtree violation" in refuses("verify", "-CAfile", CA, "dc1-server-consul-1.pem")


def test_cluster_id_makes_a_ca_that_can_sign_others() -> None:
    run(["ca", "create", "-cluster-id", "11111111-2222-3333-4444-555555555555", "-common-name", "My CA"])
    text = text_of(CA)
    assert "URI:spiffe://11111111-2222-3333-4444-555555555555.consul" in text
    assert "CA:TRUE\n" in text
    assert "My CA" in text


def test_ca_made_by_openssl_is_used() -> None:
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=mine",
            "-addext", "keyUsage=critical,keyCertSign", "-keyout", "my.key", "-out", "my.crt")  # fmt: skip
    run(["cert", "create", "-client", "-ca", "my.crt", "-key", "my.key"])
    verify_strictly(Path("my.crt"), Path("dc1-client-consul-0.pem"))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Please provide either -server, -client, or -cli"),
        (["-server", "-client"], "Please provide either -server, -client, or -cli"),
        (["-server", "more"], "takes no arguments"),
        (["-client"], r"Error reading CA: consul-agent-ca\.pem: No such file"),
        (["-client", "-node", "n1"], "-node is for server certificates"),
        (["-client", "-additional-dnsname", "server.dc1.consul"], "makes its holder a server"),
        (["-client", "-additional-ipaddress", "10.0.0.300"], "not an IP address"),
        (["-client", "-dc", "../x"], "not a DNS name"),
        (["-client", "-days", "0"], "not a lifetime"),
    ],
)
def test_command_line_that_makes_no_certificate_says_why_and_leaves_no_file(
    args: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(["cert", "create", *args])
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-additional-name-constraint", "a.example"], "needs -name-constraint"),
        (["-domain", "../up"], "not a DNS name"),
        (["-days", "99999"], "not a lifetime"),
    ],
)
def test_command_line_that_makes_no_ca_says_why(args: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(["ca", "create", *args])
    assert list(Path().iterdir()) == []


def test_key_of_another_ca_is_named() -> None:
    run(["ca", "create"])
    run(["ca", "create", "-domain", "other"])
    with pytest.raises(
        ConfigError, match=r"consul-agent-ca.pem, other-agent-ca-key.pem: .* don't belong together"
    ):
        run(["cert", "create", "-cli", "-key", "other-agent-ca-key.pem"])


def test_numbers_end_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "MAX_FILE_NUMBERS", 1)
    run(["ca", "create"])
    run(["cert", "create", "-cli"])
    run(["cert", "create", "-cli"])
    with pytest.raises(MeshError, match="Could not find a filename"):
        run(["cert", "create", "-cli"])


@pytest.mark.parametrize("command", ["ca", "cert"])
def test_help_succeeds_and_writes_nothing(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "create", "-help"]) == 0
    assert "-days" in capsys.readouterr().out
    assert list(Path().iterdir()) == []

from __future__ import annotations

import hashlib
import os
import platform
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils import _node_key
from ansible_collections.meshnode.lab.plugins.modules import mesh_csr

from meshnode.pki.request import parse_request
from tests.support.openssl import openssl
from tests.support.programs import excuse
from tests.unit.plugins.module_run import Outcome, run_module


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def call(check: bool = False, **args: object) -> Outcome:
        wanted = {"common_name": "n1", "key_path": str(tmp_path / "etc/ssl/consul.key"), **args}
        return run_module(mesh_csr.main, capsys, check=check, **wanted)

    return call


@pytest.fixture(params=["openssl", "cryptography"])
def tool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test with this runs once with each of the two ways to make a key."""
    if request.param == "cryptography":
        monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.get_bin_path", lambda *_a, **_k: None)
    return str(request.param)


@pytest.mark.usefixtures("tool")
def test_check_run_check_run(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    told = run(check=True)
    assert (told["changed"], told["csr"], told["public_key"], told["reason"]) == (
        True, None, None, "there is no key yet",
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []
    made = run()
    assert made["changed"]
    assert made["diff"]["before"] == {}
    again = [run(check=True), run()]
    assert [result["changed"] for result in again] == [False, False]
    assert {result["public_key_fingerprint"] for result in again} == {made["public_key_fingerprint"]}
    assert parse_request(again[0]["csr"]).common_name == "n1"


@pytest.mark.usefixtures("tool")
@pytest.mark.parametrize("key_type", _node_key.KEY_TYPES)
def test_request_of_each_key_type_is_taken_by_the_authority(run, tmp_path: Path, key_type: str) -> None:  # type: ignore[no-untyped-def]
    result = run(key_type=key_type)
    assert openssl("pkey", "-pubout", "-in", tmp_path / "etc/ssl/consul.key") == result["public_key"]
    assert parse_request(result["csr"]).common_name == "n1"
    assert not run(key_type=key_type)["changed"]


@pytest.mark.usefixtures("tool")
def test_key_is_private_and_is_not_in_the_output(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    before = os.umask(0)
    try:
        printed = run()["_printed"]
    finally:
        os.umask(before)
    key = tmp_path / "etc/ssl/consul.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o750
    assert [path.name for path in key.parent.iterdir()] == ["consul.key"]
    assert "PRIVATE" not in printed
    assert not [line for line in key.read_text().splitlines()[1:-1] if line in printed]


@pytest.mark.usefixtures("tool")
def test_key_of_another_type_is_replaced_and_the_diff_says_so(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first = run(key_type="rsa-2048")
    told = run(check=True)
    assert (told["changed"], told["csr"]) == (True, None)
    assert told["reason"] == "the key is of type rsa-2048, and ec-p256 is wanted"
    assert (told["diff"]["before"]["type"], told["diff"]["after"]["type"]) == ("rsa-2048", "ec-p256")
    replaced = run()
    assert replaced["changed"]
    assert replaced["public_key_fingerprint"] != first["public_key_fingerprint"]


def test_key_that_others_can_read_is_closed(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    made = run()
    key = tmp_path / "etc/ssl/consul.key"
    key.chmod(0o644)
    told = run(check=True)
    assert (told["changed"], told["reason"], stat.S_IMODE(key.stat().st_mode)) == (True, None, 0o644)
    assert (told["diff"]["before"]["mode"], told["diff"]["after"]["mode"]) == ("0644", "0600")
    fixed = run()
    assert (fixed["changed"], stat.S_IMODE(key.stat().st_mode)) == (True, 0o600)
    assert fixed["public_key_fingerprint"] == made["public_key_fingerprint"]


@excuse("root", unless=os.geteuid() == 0)
def test_owner_is_put_right(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert run()["changed"]
    assert run(check=True, owner="nobody", group="nogroup")["changed"]
    assert run(owner="nobody", group="nogroup")["changed"]
    assert not run(owner="nobody", group="nogroup")["changed"]
    assert (tmp_path / "etc/ssl/consul.key").owner() == "nobody"


@excuse("root", unless=os.geteuid() == 0)
def test_folder_that_is_made_lets_the_group_read_and_not_replace(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run(owner="nobody", group="nogroup")
    folder = tmp_path / "etc/ssl"
    assert (folder.owner(), folder.group(), stat.S_IMODE(folder.stat().st_mode)) == ("root", "nogroup", 0o750)


def test_owner_that_does_not_exist_yet_is_told_and_is_no_error(run) -> None:  # type: ignore[no-untyped-def]
    result = run(owner="not-made-yet")
    assert (result["changed"], result["owner_pending"]) == (True, True)
    assert not run(owner="not-made-yet")["changed"]


def test_facts_that_save_further_calls(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "consul.cert").write_text("the certificate")
    (tmp_path / "current").symlink_to("releases/1")
    files = [str(tmp_path / "consul.cert"), str(tmp_path / "missing"), str(tmp_path)]
    result = run(certificate_path=files[0], digest_of=files, link_of=[str(tmp_path / "current"), files[0]])
    assert result["certificate"] == "the certificate"
    assert result["digests"] == {
        files[0]: hashlib.sha256(b"the certificate").hexdigest(), files[1]: None, files[2]: None,
    }  # fmt: skip
    assert result["links"] == {str(tmp_path / "current"): "releases/1", files[0]: None}
    assert result["python_version"] == platform.python_version()
    assert run(certificate_path=files[1])["certificate"] is None


@pytest.mark.usefixtures("tool")
def test_file_that_is_no_key_is_left_alone(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    key = tmp_path / "etc/ssl/consul.key"
    key.parent.mkdir(parents=True)
    key.write_text("precious")
    result = run()
    assert result["failed"]
    assert "is not an unencrypted private key; move it away" in result["msg"]
    assert key.read_text() == "precious"


@pytest.mark.usefixtures("tool")
def test_key_with_a_passphrase_is_refused_without_asking_for_it(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    key = tmp_path / "etc/ssl/consul.key"
    key.parent.mkdir(parents=True)
    openssl(
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-aes128",
        "-pass",
        "pass:x",
        "-out",
        key,
    )
    assert "is not an unencrypted private key" in run()["msg"]


def test_link_and_folder_in_the_place_of_the_key_are_refused(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "link").symlink_to("elsewhere")
    assert "is a symbolic link" in run(key_path=str(tmp_path / "link"))["msg"]
    assert "is not a file" in run(key_path=str(tmp_path))["msg"]
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["", "a b", "/CN=x", "a\nb", "$ENV::HOME", "x" * 65])
def test_name_that_a_configuration_could_misread_is_refused(run, name: str) -> None:  # type: ignore[no-untyped-def]
    assert "common_name" in run(common_name=name)["msg"]
    assert "key_path" in run(key_path="relative/path")["msg"]


def test_longest_name_is_taken(run) -> None:  # type: ignore[no-untyped-def]
    assert parse_request(run(common_name="x" * 64)["csr"]).common_name == "x" * 64


def test_node_without_any_tool_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(_node_key.NodeKeyError, match="install openssl"):
        _node_key.choose_tool(None, lambda: None, "/tmp")


def test_failed_generation_leaves_no_temporary_file(tmp_path: Path) -> None:
    broken = _node_key.OpensslTool(
        "/bin/false", lambda *_a, **_k: (1, "", "line one\nno entropy"), str(tmp_path)
    )
    with pytest.raises(
        _node_key.NodeKeyError, match=r"making a key of type ec-p256 failed: .* said no entropy"
    ):
        _node_key.make_key(broken, str(tmp_path / "k"), "ec-p256", _node_key.Account())
    assert list(tmp_path.iterdir()) == []


def test_runs_on_a_python_without_third_party_modules(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path[:0] = ['collections']\n"
        "from ansible_collections.meshnode.lab.plugins.module_utils import _node_key\n"
        "print(sorted(n for n in sys.modules if n.split('.')[0] in ('cryptography', 'meshnode', 'ansible')))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.usefixtures("tool")
def test_further_keys_are_made_in_the_same_call_each_with_its_own_request(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    second = {"common_name": "n1.etcd", "key_path": str(tmp_path / "etcd/ssl/etcd.key")}
    told = run(check=True, others=[second])
    assert (told["changed"], told["others"][0]["csr"]) == (True, None)
    made = run(others=[second])
    assert parse_request(made["others"][0]["csr"]).common_name == "n1.etcd"
    assert made["others"][0]["public_key"] != made["public_key"]
    assert [diff["after"]["path"].rpartition("/")[2] for diff in made["diff"]] == ["consul.key", "etcd.key"]
    assert not run(others=[second])["changed"]
    (tmp_path / "etcd/ssl/etcd.key").chmod(0o644)
    assert run(others=[second])["changed"]
    assert stat.S_IMODE((tmp_path / "etcd/ssl/etcd.key").stat().st_mode) == 0o600


def test_a_further_key_with_a_relative_path_is_refused(run) -> None:  # type: ignore[no-untyped-def]
    result = run(others=[{"common_name": "n1.etcd", "key_path": "etcd.key"}])
    assert result["msg"] == "key_path: 'etcd.key' is not an absolute path"

"""The four TLS modes in containers, by either data plane: what the playbook proves, and that it would notice."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.labs import MAX_REMOTE_CALLS, Lab, private_copy
from tests.support.programs import needs

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900), needs("curl", "envoy")]

PLAYBOOK = "playbooks/tls_modes.yml"
MODES = {
    "proxy-https-to-http": "terminate",
    "proxy-https-to-https": "bridge",
    "proxy-http-to-https": "originate",
    "proxy-https-passthrough": "passthrough",
}
NOTHING = dict.fromkeys([*MODES, "service-http", "service-https"], 0)
PORT = 18510


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    made = private_copy(checkout, "envoy_tls", "tlstest", "172.28.246", PORT)
    hosts = made.read("hosts.yml")
    proxies = hosts["all"]["children"]["tls_lab"]["children"]["tls_proxies"]["hosts"]
    for number, proxy in enumerate(proxies.values()):
        proxy["lab_node"]["ports"] = [f"127.0.0.1:{PORT + number}:10000"]
    made.write("hosts.yml", hosts)
    with (made.inventory / "group_vars" / "all.yml").open("a") as file:
        file.write("tls_proxy_package_cache_dir: '{{ mesh_node_package_cache_dir }}'\n")
    made.down()
    yield made
    made.down()


def curl(port: int, *arguments: str) -> str:
    words = ["curl", "-sk", "--max-time", "20", *arguments, f"https://localhost:{port}"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("plane", ["envoy", "builtin"])
def test_each_mode_answers_as_the_document_says_and_is_on_the_wire_what_it_says(lab: Lab, plane: str) -> None:
    words = ("-e", f"tls_data_plane={plane}")
    run = lab.play("-vvv", *words, playbook=PLAYBOOK)
    for mode in MODES.values():
        assert f"{mode}, by {plane}: curl -sk http" in run.output
    calls = {name: run.remote_calls(f"{lab.name}-{name}") for name in NOTHING}
    assert all(0 < count <= MAX_REMOTE_CALLS for count in calls.values()), calls
    assert lab.play(*words, playbook=PLAYBOOK).changed == NOTHING
    assert lab.play("--check", "--diff", *words, playbook=PLAYBOOK).changed == NOTHING


def test_the_documents_curl_works_from_here(lab: Lab) -> None:
    answer = curl(PORT)
    assert '"hostname": "service-http"' in answer
    assert '"x-forwarded-proto": "https"' in answer


def test_a_proxy_whose_envoy_is_killed_is_back(lab: Lab) -> None:
    lab.play("-e", "tls_data_plane=envoy", playbook=PLAYBOOK)
    lab.on("proxy-https-to-http", "sh", "-c", "kill -KILL $(pidof envoy)")
    ask = "for i in $(seq 100); do curl -sk https://localhost:10000 && exit 0; sleep 0.2; done; exit 1"
    assert '"hostname": "service-http"' in lab.on("proxy-https-to-http", "sh", "-c", ask)


def test_a_leg_that_is_not_what_its_mode_says_fails_the_playbook(lab: Lab) -> None:
    """The twin of what is proved: HTTPS in and HTTP out, where the inventory says bridge."""
    wrong = {
        "mode": "terminate",
        "bind": "0.0.0.0:10000",
        "certificate": {"cert_file": "/etc/meshnode/tls/tls.cert", "key_file": "/etc/meshnode/tls/tls.key"},
        "upstream": {"address": "service-http:80"},
    }
    (lab.inventory / "host_vars").mkdir(exist_ok=True)
    lab.write("host_vars/proxy-https-to-https.yml", {"tls_proxy_listeners": {"bridge": wrong}})
    try:
        run = lab.play(playbook=PLAYBOOK, fails=True)
        assert "proxy-https-to-https: the answer is not the document's for mode bridge" in run.output
    finally:
        (lab.inventory / "host_vars" / "proxy-https-to-https.yml").unlink()
    lab.play(playbook=PLAYBOOK)

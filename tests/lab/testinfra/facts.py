"""Everything that the tests want to know of a node, asked in one call: a check costs a call each otherwise."""

from __future__ import annotations

import json
from typing import Any

#: Runs on the node, with its Python and nothing else. Prints one JSON object; no key material is in it.
SCRIPT = r"""
import base64, glob, grp, hashlib, http.client, json, os, pwd, ssl, stat, subprocess, sys

config_dir, install_dir, service, data_dir, etcd_scheme = sys.argv[1:]


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, (done.stdout + done.stderr).strip()


def entry(path):
    try:
        found = os.lstat(path)
    except OSError:
        return None
    kind = "link" if stat.S_ISLNK(found.st_mode) else "directory" if stat.S_ISDIR(found.st_mode) else "file"
    owner, group = pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name
    target = os.readlink(path) if kind == "link" else ""
    mode = "%04o" % stat.S_IMODE(found.st_mode)
    return {"kind": kind, "mode": mode, "owner": owner, "group": group, "target": target}


def public_key(*command):
    code, text = run("openssl", *command)
    return hashlib.sha256(text.encode()).hexdigest() if code == 0 else "?"


def listeners(user):
    for line in run("ss", "-H", "-ltnue")[1].splitlines():
        fields = line.split()
        if "uid:%d" % pwd.getpwnam(user).pw_uid in fields:
            address, _, port = fields[4].rpartition(":")
            yield {"protocol": fields[0], "address": address.strip("[]"), "port": int(port)}


def ask(connection, path="/v1/agent/members"):
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return {"status": answer.status, "body": answer.read().decode()}
    except (OSError, http.client.HTTPException) as error:
        return {"refused": type(error).__name__}
    finally:
        connection.close()


def https(config, with_certificate):
    context = ssl.create_default_context(cafile=config["ca_file"])
    if with_certificate:
        context.load_cert_chain(config["cert_file"], config["key_file"])
    return ask(http.client.HTTPSConnection("127.0.0.1", config["ports"]["https"], timeout=5, context=context))


def plain(config):
    host = config.get("addresses", {}).get("http", config.get("client_addr", "127.0.0.1"))
    host = "127.0.0.1" if host == "0.0.0.0" else host
    return ask(http.client.HTTPConnection(host, config["ports"]["http"], timeout=5))


def listening(user):
    try:
        return list(listeners(user))
    except KeyError:
        return []


def etcdctl(url, *words, files=()):
    command = ["etcdctl", "--endpoints=" + url, "--command-timeout=3s", "--dial-timeout=3s", *files, *words]
    os.environ["ETCDCTL_API"] = "3"
    return run(*command)


def etcd_health(url, *files):
    # Python says at once that it was refused; etcdctl tries again until its time is up.
    scheme, _, place = url.partition("://")
    if scheme == "http":
        return ask(http.client.HTTPConnection(place, timeout=5), "/health")
    context = ssl.create_default_context(cafile=files[0])
    if files[1:]:
        context.load_cert_chain(*files[1:])
    return ask(http.client.HTTPSConnection(place, timeout=5, context=context), "/health")


def etcd(log):
    # Asked as its owner, as nobody, and in clear.
    active = run("systemctl", "is-active", "etcd")[1]
    found = {"active": active, "listeners": listening("etcd"), "entries": {}}
    url = next(iter(log.get("endpoints", [])), "")
    if not url:
        return found
    folder = "/etc/etcd/ssl"
    paths = [folder, "/var/lib/etcd/mesh", *(folder + "/" + name for name in sorted(os.listdir(folder)))]
    ca = "--cacert=%s/ca.cert" % folder
    own = (ca, "--cert=%s/etcd.cert" % folder, "--key=%s/etcd.key" % folder)
    found |= {
        "entries": {path: entry(path) for path in paths},
        "unit": run("systemctl", "show", "etcd", "-p", "User,NoNewPrivileges,ProtectSystem,UnitFileState")[1],
        "health": etcdctl(url, "endpoint", "health", files=own),
        "members": etcdctl(url, "member", "list", files=own),
        "without_certificate": etcd_health(url, ca[9:]),
        "in_clear": etcd_health(url.replace("https://", "http://")),
        "keys": etcdctl(url, "get", "--prefix", "meshnode/", "--keys-only", "--limit=1", files=own),
        "names": run("openssl", "x509", "-in", own[1][7:], "-noout", "-ext", "subjectAltName")[1],
    }
    return found


def as_agent(agent):
    # What the etcd of each server says to this node's certificate; a client has joined them all.
    if not agent.get("cert_file") or not etcd_scheme:
        return []
    addresses = agent["retry_join"] + ([agent["advertise_addr"]] if agent["server"] else [])
    urls = ["%s://%s:2379" % (etcd_scheme, address) for address in addresses]
    files = [agent[name] for name in ("ca_file", "cert_file", "key_file")]
    return [etcd_health(url, *files) for url in urls]


config = json.load(open(config_dir + "/meshnode.json"))
encrypt = config.pop("encrypt", "")
digest = hashlib.sha256()
for path in sorted(glob.glob(config_dir + "/*.json") + glob.glob(config_dir + "/*.hcl")):
    digest.update(os.fsencode(path) + b"\0" + open(path, "rb").read() + b"\0")
properties = ("ActiveState", "UnitFileState", "NRestarts", "MainPID", "User", "NoNewPrivileges", "ProtectSystem")
shown = run("systemctl", "show", service, "-p", ",".join(properties))[1]
unit = dict(line.split("=", 1) for line in shown.splitlines())
tls = {}
if config.get("cert_file"):
    tls = {
        "verify": run("openssl", "verify", "-x509_strict", "-CAfile", config["ca_file"], config["cert_file"]),
        "certificate_key": public_key("x509", "-in", config["cert_file"], "-noout", "-pubkey"),
        "private_key": public_key("pkey", "-in", config["key_file"], "-pubout"),
        "names": run("openssl", "x509", "-in", config["cert_file"], "-noout", "-ext", "subjectAltName")[1],
        "with_certificate": https(config, True),
        "without_certificate": https(config, False),
    }
paths = [config_dir, config_dir + "/meshnode.json", data_dir, install_dir + "/current", "/usr/local/bin/meshnode"]
paths += ["/usr/local/bin/consul", "/consul/config", "/run/%s/state.json" % service]
paths += [config[name] for name in ("ca_file", "cert_file", "key_file") if name in config]
print(json.dumps({
    "config": config,
    "config_digest": digest.hexdigest(),
    "entries": {path: entry(path) for path in paths},
    "etcd": etcd(config.get("state_log", {})),
    "etcd_by_agent": as_agent(config),
    "gossip_key": hashlib.sha256(base64.b64decode(encrypt)).hexdigest()[:8] if encrypt else "",
    "listeners": list(listeners(unit["User"])),
    "members": run("consul", "members"),
    "plain": plain(config) if config.get("ports", {}).get("http", 8500) > 0 else {},
    "releases": sorted(os.listdir(install_dir + "/releases")),
    "state": json.load(open("/run/%s/state.json" % service)),
    "tls": tls,
    "unit": unit,
}))
"""


def collect(host: Any, *arguments: str) -> dict[str, Any]:
    """Run the script on C(host) with its directories, service and the scheme of etcd; fails with what it said."""
    variables = host.ansible.get_variables() if host.backend.HAS_RUN_ANSIBLE else {}
    sudo = "sudo " if variables.get("ansible_become") else ""
    done = host.run(f"{sudo}/usr/bin/python3 -c %s{' %s' * len(arguments)}", SCRIPT, *arguments)
    assert done.rc == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts

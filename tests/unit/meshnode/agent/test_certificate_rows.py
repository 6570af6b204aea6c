"""The rows of ``/v1/agent/certs``."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from meshnode.agent.certificate_rows import certificate_rows
from meshnode.base.spiffe import ServiceId
from meshnode.connect.leaf import Leaf, TrustedRoot
from meshnode.pki import connect_ca, keys

AT = datetime(2026, 1, 1, tzinfo=UTC)
OWN = {
    "File": "/etc/agent.pem", "Subject": "CN=n1", "Issuer": "CN=ca", "Serial": "ab",
    "NotAfter": "2026-01-11T00:00:00+00:00", "Served": {"rpc": "ab", "https": None},
}  # fmt: skip


def test_every_certificate_is_a_row_with_the_days_it_has_left_and_who_presents_it() -> None:
    root = connect_ca.create_root("Consul CA 1", "x.consul", at=AT, entropy=os.urandom)
    request = connect_ca.create_leaf_request(keys.generate_key(), ServiceId("x.consul", "dc1", "web"))
    signed = connect_ca.sign_leaf(
        root, connect_ca.parse_leaf_request(request), trust_domain="x.consul", datacenter="dc1",
        lifetime=timedelta(hours=36), at=AT, entropy=os.urandom,
    )  # fmt: skip
    leaf = Leaf("web", "", signed.serial, signed.certificate_pem, "KEY", 0.0, 0.0, "r")
    trusted = TrustedRoot("r", root.certificate_pem, {"Name": "Consul CA 1"})
    served = {"web": {"public": signed.serial}}
    rows = certificate_rows([OWN], [leaf], [trusted], served, AT.timestamp())
    assert [(row["Kind"], row["Name"], row["DaysLeft"]) for row in rows] == [
        ("agent", "/etc/agent.pem", 10.0),
        ("leaf", "web", 1.5),
        ("root", "Consul CA 1", 3650.0),
    ]
    assert rows[0]["Served"] == {"rpc": "ab"}
    assert rows[1]["Serial"] == signed.serial
    assert rows[1]["Served"] == {"public": signed.serial}
    assert "KEY" not in repr(rows)


def test_a_root_that_can_not_be_read_is_a_row_with_the_reason() -> None:
    (row,) = certificate_rows([], [], [TrustedRoot("r", "nothing", {})], {}, 0.0)
    assert (row["Kind"], row["Name"]) == ("root", "r")
    assert "not an X.509 certificate" in row["Error"]

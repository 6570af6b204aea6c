# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options that say how to reach an agent's HTTP API."""

from __future__ import annotations


class ModuleDocFragment:
    """C(DOCUMENTATION) for modules and plugins; C(PLUGIN) adds the environment of plugins."""

    DOCUMENTATION = r"""
options:
  address:
    description:
      - Where the agent's HTTP API answers, as C(host:port), C(http://host:port), C(https://host:port) or
        C(unix:///path/of/socket).
      - When it is not given, the environment variable E(CONSUL_HTTP_ADDR) is read.
    type: str
    default: 127.0.0.1:8500
  ssl:
    description:
      - Speak TLS to an O(address) that has no scheme.
      - When it is not given, the environment variable E(CONSUL_HTTP_SSL) is read.
    type: bool
    default: false
  token:
    description:
      - ACL token. It is sent as a header, never as a part of the URL.
      - When it is not given, the environment variable E(CONSUL_HTTP_TOKEN) is read.
    type: str
  ca_file:
    description:
      - CA certificates (PEM) that the agent's certificate is checked with. By default those of the system.
      - When it is not given, the environment variable E(CONSUL_CACERT) is read.
    type: path
  client_cert:
    description:
      - Certificate (PEM) to show to the agent, for one with C(verify_incoming).
      - When it is not given, the environment variable E(CONSUL_CLIENT_CERT) is read.
    type: path
  client_key:
    description:
      - Key of O(client_cert), without a passphrase.
      - When it is not given, the environment variable E(CONSUL_CLIENT_KEY) is read.
    type: path
  validate_certs:
    description:
      - Whether the agent's certificate and its name are checked. Without it, anybody can be the agent.
      - When it is not given, the environment variable E(CONSUL_HTTP_SSL_VERIFY) is read.
    type: bool
    default: true
  server_name:
    description:
      - Name to look for in the agent's certificate instead of the host of O(address), such as
        V(server.dc1.consul).
      - When it is not given, the environment variable E(CONSUL_TLS_SERVER_NAME) is read.
    type: str
  datacenter:
    description:
      - Datacenter to ask. By default that of the agent.
    type: str
  timeout:
    description:
      - Seconds for one request as a whole.
    type: float
    default: 10
  retries:
    description:
      - How often a request is repeated while the cluster has no leader. The first wait is half a second, each further
        one is twice as long, up to four seconds.
    type: int
    default: 5
notes:
  - Environment variables are read where the module or plugin runs. For a module that is the node, with what the
    keyword C(environment) sets there.
  - Needs Python 3.11 or later and its standard library.
"""

    PLUGIN = r"""
options:
  address:
    env:
      - name: CONSUL_HTTP_ADDR
  ssl:
    env:
      - name: CONSUL_HTTP_SSL
  token:
    env:
      - name: CONSUL_HTTP_TOKEN
  ca_file:
    env:
      - name: CONSUL_CACERT
  client_cert:
    env:
      - name: CONSUL_CLIENT_CERT
  client_key:
    env:
      - name: CONSUL_CLIENT_KEY
  validate_certs:
    env:
      - name: CONSUL_HTTP_SSL_VERIFY
  server_name:
    env:
      - name: CONSUL_TLS_SERVER_NAME
"""

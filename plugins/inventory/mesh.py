# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: mesh
short_description: Hosts and groups from the catalog of a cluster
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Reads nodes, services, node meta and health from an agent, and makes a host of each node.
  - The configuration is a file whose name ends with C(.mesh.yml) or C(.mesh.yaml), or is C(mesh.yml) or C(mesh.yaml).
  - The groups are C(service_<name>), C(dc_<datacenter>), C(role_server), C(role_client), C(meta_<key>_<value>), and
    C(unhealthy) for nodes with a check that is not passing. Characters that a group's name can't have become C(_).
  - Variables of a host are C(mesh_node), C(mesh_node_id), C(mesh_address), C(mesh_tagged_addresses),
    C(mesh_datacenter), C(mesh_meta), C(mesh_role), C(mesh_status), C(mesh_services) and C(mesh_failing_checks).
extends_documentation_fragment:
  - meshnode.lab.mesh_api
  - meshnode.lab.mesh_api.plugin
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description:
      - Always V(meshnode.lab.mesh).
    type: str
    required: true
    choices: [meshnode.lab.mesh]
  datacenters:
    description:
      - Datacenters to read. By default that of O(datacenter) or of the agent. V([all]) is every one that it knows.
      - With more than one, hosts are called C(<node>.<datacenter>).
    type: list
    elements: str
    default: []
  ansible_host:
    description:
      - Address that becomes C(ansible_host), that of the node, a tagged one, or none.
    type: str
    choices: [node, lan, wan, none]
    default: node
"""

EXAMPLES = r"""
# cluster.mesh.yml, for an agent that wants client certificates
plugin: meshnode.lab.mesh
address: https://10.1.0.11:10443
ca_file: .secrets/dc1/ca.crt
client_cert: .secrets/admin.cert
client_key: .secrets/admin.key
server_name: server.dc1.consul
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: .cache/mesh
cache_timeout: 60
groups:
  old: mesh_meta.version | default('0') is version('1.4', '<')
keyed_groups:
  - key: mesh_meta.rack | default('none')
    prefix: rack
compose:
  web_port: mesh_services.web[0].port
"""

from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible_collections.meshnode.lab.plugins.module_utils import _catalog, mesh_api

ENDINGS = (".mesh.yml", ".mesh.yaml", "/mesh.yml", "/mesh.yaml")
ALL = "all"


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The catalog as an inventory."""

    NAME = "meshnode.lab.mesh"

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and f"/{path}".endswith(ENDINGS)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            catalogs = self._catalogs(path, cache)
            hosts = _catalog.hosts_of(catalogs, qualified=len(catalogs) > 1)
        except mesh_api.MeshApiError as error:
            raise AnsibleParserError(f"{path}: {error}") from None
        for name, variables, groups in hosts:
            self._add(name, variables, groups)

    def _catalogs(self, path: str, cache: bool) -> list[dict[str, Any]]:
        key = self.get_cache_key(path)
        wanted = self.get_option("cache")
        if wanted and cache:
            try:
                found: list[dict[str, Any]] = self._cache[key]
            except KeyError:
                pass
            else:
                return found
        read = self._read()
        if wanted:
            self._cache[key] = read
        return read

    def _read(self) -> list[dict[str, Any]]:
        api = mesh_api.api_from(self.get_options())
        names: list[str | None] = list(dict.fromkeys(self.get_option("datacenters"))) or [None]
        if ALL in names:
            names = list(api.get("/v1/catalog/datacenters") or [None])
        return [_catalog.catalog_of(api, name) for name in names]

    def _add(self, name: str, variables: dict[str, Any], groups: list[str]) -> None:
        self.inventory.add_host(name)
        which = self.get_option("ansible_host")
        if which == "node":
            self.inventory.set_variable(name, "ansible_host", variables["mesh_address"])
        elif which in variables["mesh_tagged_addresses"]:
            self.inventory.set_variable(name, "ansible_host", variables["mesh_tagged_addresses"][which])
        for key, value in variables.items():
            self.inventory.set_variable(name, key, value)
        for group in groups:
            self.inventory.add_child(self.inventory.add_group(self._sanitize_group_name(group)), name)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)

#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the image that lab nodes run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_image
short_description: Make the image that lab nodes run
version_added: 0.1.0
description:
  - Makes a Debian base with C(mmdebstrap) and imports it, or takes the image named by O(base_image), and builds
    the node image from it.
  - The image is tagged by a digest of everything that goes into it (the suite, the package list, each file of O(path)).
    An image that exists is never built again, and a changed input always makes a new one.
  - No container registry is needed. Making the base needs root, the program C(mmdebstrap) and Debian's archive, once.
author:
  - The meshnode authors (@meshnode)
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.lab
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - With O(force=true) the image is built each time.
options:
  name:
    description:
      - The repository part of the image's reference.
    type: str
    default: meshnode-node
  path:
    description:
      - The folder with the C(Dockerfile) and C(packages.txt).
    type: path
    required: true
  suite:
    description:
      - The Debian release to make the base from.
    type: str
    default: bookworm
  packages:
    description:
      - Packages to put into the base in addition to those in C(packages.txt).
    type: list
    elements: str
    default: []
  base_image:
    description:
      - A Debian image to build from instead of making a base with C(mmdebstrap).
      - It is pulled when the engine does not have it.
    type: str
    default: ""
  mirror:
    description:
      - The archive to make the base from. Debian's own when empty.
      - It does not count as an input, the same packages come from every mirror.
    type: str
    default: ""
  cache_dir:
    description:
      - Where the base is kept as a tarball, so that an engine that lost its images gets them back in seconds.
    type: path
    required: true
  force:
    description:
      - Build even if the image exists.
    type: bool
    default: false
seealso:
  - module: meshnode.lab.lab_cluster
"""

EXAMPLES = r"""
- name: Make the node image (half a minute the first time)
  meshnode.lab.lab_image:
    path: images/node
    cache_dir: .cache
  register: image

- name: Make it from an image that can be pulled here
  meshnode.lab.lab_image:
    path: images/node
    cache_dir: .cache
    base_image: debian:bookworm-slim
"""

RETURN = r"""
reference:
  description: The image's reference.
  returned: success
  type: str
  sample: meshnode-node:bookworm-3f9c2ab41d07
id:
  description: The engine's identifier of the image. Empty in check mode when there is no such image yet.
  returned: success
  type: str
  sample: sha256:ca6c8006521def019f8f7a13e2953673c5862d08adf685a8df2f6a4f983f8235
digest:
  description: SHA-256 of everything that goes into the image.
  returned: success
  type: str
  sample: 3f9c2ab41d07ac0c...
steps:
  description: What was done, or would be done in check mode. Empty when the image was there.
  returned: success
  type: list
  elements: str
  sample: [bootstrap, import, build]
log:
  description: A line for each step that was done.
  returned: success
  type: list
  elements: str
"""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.meshnode.lab.plugins.module_utils._engine import (
    DOCKER_IMPORT_ERROR,
    LabError,
    connect,
)
from ansible_collections.meshnode.lab.plugins.module_utils._image import Recipe, parse_packages, read_context
from ansible_collections.meshnode.lab.plugins.module_utils._image_build import Builder

if TYPE_CHECKING:
    import docker

#: mmdebstrap's import and the build answer late, seconds.
REQUEST_TIMEOUT = 600


def recipe_from(params: dict[str, Any]) -> Recipe:
    """The recipe that the module's parameters and the files in its folder describe; raises LabError."""
    folder = Path(params["path"])
    for name in ("Dockerfile", "packages.txt"):
        if not (folder / name).is_file():
            raise LabError(
                f"{folder / name}: there is no such file: set path to the folder of the node image."
            )
    listed = (folder / "packages.txt").read_text(encoding="utf-8")
    packages = parse_packages("\n".join([listed, *params["packages"]]))
    return Recipe(params["name"], params["suite"], packages, params["base_image"], read_context(folder))


def make(module: AnsibleModule, client: docker.DockerClient) -> dict[str, Any]:
    """Makes the image unless it is there; returns the module's result."""
    params = module.params
    recipe = recipe_from(params)
    # mmdebstrap, the import and the build answer late: the engine gets ten minutes for one request.
    builder = Builder(
        connect(timeout=600), recipe, Path(params["path"]), Path(params["cache_dir"]), params["mirror"]
    )
    steps = builder.steps(force=params["force"])
    if steps and not module.check_mode:
        steps = builder.run(force=params["force"])
    absent = bool(steps) and module.check_mode
    return {
        "changed": bool(steps),
        "reference": recipe.reference,
        "id": "" if absent else builder.image_id(),
        "digest": recipe.digest,
        "steps": [step.value for step in steps],
        "log": builder.log,
        "diff": {
            "before": "" if steps else f"{recipe.reference}\n",
            "after": f"{recipe.reference}\n",
            "before_header": "node image",
            "after_header": "node image",
        },
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "default": "meshnode-node"},
            "path": {"type": "path", "required": True},
            "suite": {"type": "str", "default": "bookworm"},
            "packages": {"type": "list", "elements": "str", "default": []},
            "base_image": {"type": "str", "default": ""},
            "mirror": {"type": "str", "default": ""},
            "cache_dir": {"type": "path", "required": True},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    if DOCKER_IMPORT_ERROR:
        module.fail_json(msg=missing_required_lib("docker"), exception=DOCKER_IMPORT_ERROR)
    try:
        with contextlib.closing(connect(timeout=REQUEST_TIMEOUT)) as client:
            result = make(module, client)
    except LabError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

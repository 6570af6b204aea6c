"""Run a module's ``main()`` in this process and read what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args


class Outcome(dict[str, Any]):
    """The result of a module; missing keys are ``None``."""

    def __missing__(self, key: str) -> None:
        return None


def run_module(
    main: Callable[[], object], capsys: pytest.CaptureFixture[str], *, check: bool = False, **args: Any
) -> Outcome:
    """Arguments of Ansible's own (``_ansible_no_log``) are passed as they are; the output is in ``["_printed"]``."""
    capsys.readouterr()
    with (
        patch_module_args({**args, "_ansible_check_mode": check, "_ansible_diff": True}),
        pytest.raises(SystemExit),
    ):
        main()
    printed = capsys.readouterr().out
    return Outcome({**json.loads(printed), "_printed": printed})

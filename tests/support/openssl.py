"""The foreign witness of certificates: the ``openssl`` command."""

from __future__ import annotations

import subprocess
from pathlib import Path


def openssl(*args: str | Path, stdin: str = "") -> str:
    """Output of the command; fails the test with its messages when it fails."""
    done = subprocess.run(
        ["openssl", *map(str, args)], input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"openssl {' '.join(map(str, args))}\n{done.stdout}{done.stderr}"
    return done.stdout


def refuses(*args: str | Path) -> str:
    """What the command says when it fails, as it must."""
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode != 0, f"openssl {' '.join(map(str, args))} succeeded\n{done.stdout}"
    return done.stdout + done.stderr


def verify_strictly(authority: Path, leaf: Path, *more: str) -> str:
    """``openssl verify -x509_strict`` with every check that it has."""
    return openssl(
        "verify", "-x509_strict", "-check_ss_sig", "-policy_check", *more, "-CAfile", authority, leaf
    )

from __future__ import annotations

import os
from pathlib import Path

from meshnode.runtime.file_marks import file_marks


def test_the_marks_are_the_same_until_a_file_is_written_replaced_or_removed(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a")
    two.write_text("b")
    paths = [str(one), str(two)]
    seen = [file_marks(paths)]
    assert file_marks(paths) == seen[0]

    def is_new() -> bool:
        found = file_marks(paths)
        new = found not in seen
        seen.append(found)
        return new

    one.write_text("longer")
    assert is_new()
    (tmp_path / "fresh").write_text("B")
    (tmp_path / "fresh").rename(two)
    assert is_new(), "as long as before, and another file"
    os.utime(two, ns=(0, 1))
    assert is_new()
    one.unlink()
    assert is_new()
    one.mkdir()
    assert is_new()
    (one / "entry").write_text("")
    os.utime(one, ns=(0, 5))
    assert is_new()


def test_a_file_that_is_not_there_has_a_mark_too(tmp_path: Path) -> None:
    assert file_marks([str(tmp_path / "missing")]) == ((),)

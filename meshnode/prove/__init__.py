"""Capture reading, protocol recognition and verdicts. Pure: bytes in, verdicts out; the files are read in runtime.
"""

__all__: list[str] = []

"""The web page: its files, which the agent serves under ``/ui/`` (``http/page``).

In: nothing. Out: the bytes of each file. ``static/app.js`` is where to begin to read; there is no build step.
"""

from __future__ import annotations

from meshnode.ui.files import page_files

__all__ = ["page_files"]

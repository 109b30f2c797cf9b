"""python -m nst_nd.cli.worker HOME: a process of a batch, see nst_nd/batch/worker.py and group.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from nst_nd.cli.process import keep_pages

if __name__ == "__main__":
    keep_pages()
    from nst_nd.batch.group import TASK, serve_together
    from nst_nd.batch.worker import serve
    from nst_nd.domains.target_cache import keep_targets

    keep_targets()
    (serve_together if TASK in os.environ else serve)(Path(sys.argv[1]))

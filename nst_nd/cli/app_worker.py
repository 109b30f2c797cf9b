"""python -m nst_nd.cli.app_worker CONFIG VIEWS [LOW HIGH]: a job of the app, see nst_nd/app/worker.py."""

from __future__ import annotations

import sys
from pathlib import Path

from nst_nd.cli.process import keep_pages, stopping

if __name__ == "__main__":
    with stopping() as should_stop:
        keep_pages()
        from nst_nd.app.worker import do
        from nst_nd.domains.target_cache import keep_targets

        keep_targets()
        low, high = (float(word) for word in sys.argv[3:5]) if len(sys.argv) > 3 else (0.0, 0.0)
        window = (low, high) if low < high else None
        status = do(Path(sys.argv[1]), Path(sys.argv[2]), window, should_stop)
    sys.exit(status)

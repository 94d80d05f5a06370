"""virtbridge with every callback of its loop timed; the longest one is written to a file.

`python -m tests.bench.timed_daemon ARGS…`: the file is named by VIRTBRIDGE_BENCH_BLOCK and rewritten when a
longer callback was seen; SIGUSR2 starts anew. The selector's wait is no callback: this is what blocks.
"""

import asyncio
import os
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import Any

_longest = 0.0


def _install(file: Path) -> None:
    run = asyncio.events.Handle._run

    def timed(handle: Any) -> None:
        global _longest
        began = time.perf_counter()
        run(handle)
        took = time.perf_counter() - began
        if took > _longest:
            _longest = took
            file.write_text(f"{took * 1000:.2f} {handle!r}\n")

    def reset(*_: Any) -> None:
        global _longest
        _longest = 0.0
        file.unlink(missing_ok=True)

    signal.signal(signal.SIGUSR2, reset)
    asyncio.events.Handle._run = timed  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    _install(Path(os.environ["VIRTBRIDGE_BENCH_BLOCK"]))
    sys.argv[0] = "virtbridge"
    runpy.run_module("virtbridge", run_name="__main__", alter_sys=True)

"""`python -m tests.bench [--quick] [NAME…]`: virtbridge against libvirt-dbus within one run, as Markdown.

Exit status 1 when a case failed, which costs the others nothing, or when a goal of the issue was missed (not
with `--quick`, which is too little for goals).
"""

import argparse
import platform
import sys
import time
import traceback

import libvirt

from tests.bench.cases import CASES
from tests.bench.cases.common import DIRECT, LABELS, PEER, QUICK, Scale
from tests.bench.stage import answer_keepalives, missing, staged
from tests.bench.table import Row, markdown


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer runs")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {' '.join(CASES)}")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in CASES]
    if unknown:
        parser.error(f"no such case: {' '.join(unknown)}")
    lacking = missing()
    if lacking:
        print(f"cannot compare here: {lacking}", file=sys.stderr)
        return 2
    libvirt.registerErrorHandler(lambda *_: None, None)
    answer_keepalives()
    scale = QUICK if options.quick else Scale()
    rows: list[Row] = []
    failed: list[str] = []
    for name in options.names or CASES:
        began = time.monotonic()
        try:
            with staged() as stage:
                rows += CASES[name](stage, scale)
        except Exception as error:  # an edge: what the others measure, for an hour, must not be lost
            traceback.print_exc()
            failed.append(f"{name}: {type(error).__name__}: {error}")
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(f"\nLinux {platform.release()}, {platform.machine()}, libvirt {libvirt.getVersion()}, medians.\n")
    for table, others in (
        ([row for row in rows if DIRECT not in row.values], ()),
        ([row for row in rows if DIRECT in row.values], (DIRECT,)),
    ):
        if table:
            print(markdown(table, LABELS, PEER, others), end="\n\n")
    if failed:
        print("Failed:\n" + "\n".join(f"- {line}" for line in failed))
    missed = [f"{row.name}: {words}" for row in rows for words in row.missed(PEER)]
    if missed:
        print("Missed:\n" + "\n".join(f"- {line}" for line in missed))
    return 1 if failed or (missed and not options.quick) else 0


if __name__ == "__main__":
    sys.exit(main())

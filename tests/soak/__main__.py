"""`python -m tests.soak [SECONDS] [SEED]`: lost connections for so long; exit status 1 when it went wrong.

Needs root, as tests/libvirtd does.
"""

import asyncio
import random
import sys

from tests.soak.lost_connections import run

USUAL_S = 600.0
HOST_LIVES_S = (2.0, 3.0)


def main(words: list[str]) -> int:
    seconds = float(words[0]) if words else USUAL_S
    seed = int(words[1]) if len(words) > 1 else random.randrange(1 << 32)
    print(f"lost connections for {seconds:g} s, seed {seed}", flush=True)
    outcome = asyncio.run(run(seconds, HOST_LIVES_S, seed))
    print(outcome.fault or "no fault")
    print(f"{outcome.kills} hosts were killed in {outcome.seconds:.0f} s")
    return 1 if outcome.fault else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

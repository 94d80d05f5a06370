"""QueryXml among other clients: what one asks for holds up nobody else."""

from pathlib import Path

from tests.bus.test_budget import daemon_with
from tests.support.client import ROOT, SERVICE

MANAGER = f"{SERVICE}.Manager"


def main_thread_ms(pid: int) -> float:
    """What the main thread has had of a processor so far."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e6


async def test_a_large_answer_is_not_made_by_the_main_loop(tmp_path: Path) -> None:
    words = "".join(f"<w n='{number}'/>" for number in range(2000))
    domains = "".join(
        f"<domain type='test'><name>d{number}</name><memory>1</memory><os><type>hvm</type></os>"
        f"<metadata><m:words xmlns:m='urn:m'>{words}</m:words></metadata></domain>"
        for number in range(50)
    )
    (tmp_path / "node.xml").write_text(f"<node>{domains}</node>")
    async with daemon_with(f"test://{tmp_path / 'node.xml'}") as (daemon, client):
        query = ["domain", "//w/@n", {}]
        call = client.message(ROOT, MANAGER, "QueryXml", "ssa{sv}", query)
        before = main_thread_ms(daemon.pid)
        reply = await client.bus.call(call)
        spent = main_thread_ms(daemon.pid) - before
        assert [len(found) for found in reply.body[0].values()] == [2000] * 50
        assert spent < 40  # three times of what sending it takes; 100,000 strings are 80 to 140 ms of work

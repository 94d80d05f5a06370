"""QueryXml among other clients: what one asks for holds up nobody else."""

from pathlib import Path

from tests.bus.test_budget import daemon_with
from tests.support.client import ROOT, SERVICE

MANAGER = f"{SERVICE}.Manager"


def processor_ns(pid: int) -> tuple[int, int]:
    """What the main thread, and all other threads together, have had of a processor so far."""
    spent = {
        task.name: int((task / "schedstat").read_text().split()[0])
        for task in Path(f"/proc/{pid}/task").iterdir()
    }
    main = spent.pop(str(pid))
    return main, sum(spent.values())


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
        before = processor_ns(daemon.pid)
        reply = await client.bus.call(call)
        main, others = (now - then for now, then in zip(processor_ns(daemon.pid), before, strict=True))
        assert [len(found) for found in reply.body[0].values()] == [2000] * 50
        assert main < others / 2  # it only sends; to read and make 100,000 strings is most of the work

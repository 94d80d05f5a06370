"""What a local user without rights can have done to a real QEMU host: nothing that libvirt would refuse."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import libvirt
import pytest
import pytest_asyncio

from tests.support.client import ROOT, SERVICE, CallFailed, error_of, wait_until
from tests.support.guest_agent import QEMU, GuestAgent
from tests.support.libvirtd import Libvirtd, is_available, start_qemu
from tests.support.system_service import SystemService, system_service

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not (is_available() and shutil.which("busctl")), reason="a private libvirtd needs root, and busctl"
    ),
]

HOST = f"{ROOT}/host"
CONNECTION, DOMAIN = f"{SERVICE}.Connection", f"{SERVICE}.Domain"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(host: Libvirtd) -> AsyncIterator[SystemService]:
    async with system_service({"host": host.qemu_uri}) as running:
        yield running


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """What a user could have written anywhere. Whoever runs it leaves a trace."""
    file = tmp_path / "emulator"
    file.write_text(f'#!/bin/sh\ntouch {tmp_path}/ran\nexec {QEMU} "$@"\n')
    file.chmod(0o755)
    return file


async def capabilities_as_nobody(service: SystemService, **options: str) -> str:
    words = [word for name, value in options.items() for word in (name, "s", value)]
    return await service.as_nobody(
        HOST, CONNECTION, "GetDomainCapabilities", "a{sv}", str(len(options)), *words
    )


async def test_nobody_s_program_is_not_run_and_no_file_is_told_of(
    service: SystemService, program: Path
) -> None:
    secret = program.with_name("secret")
    secret.write_text("not executable")
    files = [program, secret, program.with_name("missing"), program.parent, Path("/bin/true")]
    answers = {await capabilities_as_nobody(service, emulator=str(file)) for file in files}
    assert len(answers) == 1
    assert "only root has the right 'configure', which the option 'emulator' needs" in answers.pop()
    same = QEMU.replace("/usr/bin", "/usr/bin/../bin")
    assert "only root" in await capabilities_as_nobody(service, emulator=same)
    assert not program.with_name("ran").exists()


async def test_authorization_comes_before_the_other_arguments(service: SystemService, program: Path) -> None:
    answer = await capabilities_as_nobody(service, emulator=str(program), arch="none", type="none")
    assert "only root" in answer
    assert "unknown option" in await capabilities_as_nobody(service, emulation=str(program))


async def test_an_emulator_of_the_host_s_is_everybody_s(service: SystemService) -> None:
    assert await capabilities_as_nobody(service, emulator=QEMU) == ""
    assert await capabilities_as_nobody(service, emulator=QEMU, type="qemu", machine="pc") == ""
    assert await capabilities_as_nobody(service) == ""
    assert "unknown architecture" in await capabilities_as_nobody(service, emulator=QEMU, arch="../../x")


async def test_whoever_has_the_right_may_name_any_emulator(service: SystemService, program: Path) -> None:
    emulator = {"emulator": service.root.variant("s", str(program))}
    xml = await service.root.call(HOST, CONNECTION, "GetDomainCapabilities", "a{sv}", [emulator])
    assert f"<path>{program}</path>" in xml
    assert program.with_name("ran").exists()


@pytest.fixture
def agent(host: Libvirtd) -> Iterator[GuestAgent]:
    answers = {"guest-get-host-name": {"host-name": "web"}, "guest-network-get-interfaces": []}
    with GuestAgent(host.folder, answers) as playing:
        yield playing


@pytest_asyncio.fixture(loop_scope="module")
async def talking(host: Libvirtd, service: SystemService, agent: GuestAgent) -> AsyncIterator[str]:
    """The path of a running domain whose agent is connected."""
    conn = libvirt.open(host.qemu_uri)
    domain = start_qemu(conn, "talks", devices=agent.devices)
    path = f"{HOST}/domain/_{domain.UUIDString().replace('-', '_')}"

    async def connected() -> bool:
        try:
            return bool(await service.root.get(path, DOMAIN, "AgentConnected"))
        except CallFailed:
            return False

    await wait_until(connected, "the agent is connected")
    yield path
    domain.destroy()
    domain.undefine()
    del domain
    conn.close()


async def test_nobody_disturbs_a_guest_s_agent(
    service: SystemService, agent: GuestAgent, talking: str
) -> None:
    needs_control = "only root has the right 'control'"
    source = ("GetInterfaceAddresses", "a{sv}", "1", "source", "s")
    assert needs_control in await service.as_nobody(talking, DOMAIN, *source, "agent")
    assert needs_control in await service.as_nobody(talking, DOMAIN, "GetGuestInfo", "a{sv}", "0")
    assert agent.asked == []
    root = service.root
    options = {"types": root.variant("as", ["hostname"]), "max-age": root.variant("t", 60_000)}
    assert await root.call(talking, DOMAIN, "GetGuestInfo", "a{sv}", [options]) == {"hostname": "web"}
    agents = {"source": root.variant("s", "agent")}
    assert await root.call(talking, DOMAIN, "GetInterfaceAddresses", "a{sv}", [agents]) == []
    # What others may know is kept, and is theirs alone all the same.
    asked = list(agent.asked)
    kept = ("1", "max-age", "t", "60000")
    assert needs_control in await service.as_nobody(talking, DOMAIN, "GetGuestInfo", "a{sv}", *kept)
    assert agent.asked == asked
    assert "only root" not in await service.as_nobody(talking, DOMAIN, *source, "arp")
    assert await service.as_nobody(talking, DOMAIN, "GetStats", "asa{sv}", "0", "0") == ""


async def test_nobody_gets_passwords(service: SystemService, talking: str) -> None:
    for option in (("secure", "b", "true"), ("migratable", "b", "true"), ("flags", "u", "16")):
        answer = await service.as_nobody(talking, DOMAIN, "GetXml", "a{sv}", "1", *option)
        assert "only root has the right 'read-secrets'" in answer
    for option in (("secure", "b", "false"), ("inactive", "b", "true"), ("flags", "u", "6")):
        assert await service.as_nobody(talking, DOMAIN, "GetXml", "a{sv}", "1", *option) == ""
    wrong = {"secure": service.root.variant("s", "yes")}
    assert await error_of(service.root, talking, DOMAIN, "GetXml", "a{sv}", [wrong]) == "InvalidArgument"

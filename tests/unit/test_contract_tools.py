"""Other people's code generators read the contract's files, too, and each of them has its demands."""

import re

from lxml import etree

from virtbridge.bus.contract import CONTRACT_FOLDER

FILES = sorted(CONTRACT_FOLDER.glob("org.virtbridge1.*.xml"))


def test_arguments_have_names_that_generated_code_can_use() -> None:
    """gdbus-codegen makes parameters and symbols of them as they are."""
    for file in FILES:
        for member in etree.parse(str(file)).iterfind(".//interface/*"):
            names = [arg.get("name", "") for arg in member.iterfind("arg")]
            assert all(re.fullmatch("[a-z][a-z_]*", name) for name in names), (member.get("name"), names)
            assert len(set(names)) == len(names), (member.get("name"), names)

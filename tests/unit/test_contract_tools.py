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


# What qdbusxml2cpp has no type for by itself, and what it is told to take. Qt has no structs, so these are
# in a header of the program's own, which it names with -i.
QT_TYPES = {
    "a{sv}": "QVariantMap",
    "aa{sv}": "QList<QVariantMap>",
    "au": "QList<uint>",
    "a{st}": "QMap<QString,qulonglong>",
    "a{oas}": "QMap<QDBusObjectPath,QStringList>",
    "a{oa{sv}}": "QMap<QDBusObjectPath,QVariantMap>",
    "(ss)": "VirtbridgeErrorText",
    "a(os)": "VirtbridgeMacUsers",
    "a(oss)": "VirtbridgeDiskUsers",
    "a(ta{sv})": "VirtbridgeStatsHistory",
}
QT_NAME = "org.qtproject.QtDBus.QtTypeName"


def qt_types(member: etree._Element) -> dict[str, str]:
    """The annotations that a property, method or signal needs."""
    if member.tag == "property":
        signatures = {QT_NAME: member.get("type", "")}
    else:
        ways: dict[str, list[str]] = {"In": [], "Out": []}
        for arg in member.iterfind("arg"):
            ways["In" if arg.get("direction") == "in" else "Out"].append(arg.get("type", ""))
        signatures = {
            f"{QT_NAME}.{way}{place}": signature
            for way, all_of in ways.items()
            for place, signature in enumerate(all_of)
        }
    simple = re.compile("[sobutixd]|as|ao|ay")
    return {name: QT_TYPES[each] for name, each in signatures.items() if not simple.fullmatch(each)}


def test_qdbusxml2cpp_is_told_of_every_type_that_it_does_not_know() -> None:
    for file in FILES:
        for member in etree.parse(str(file)).iterfind(".//interface/*[@name]"):
            if member.tag == "annotation":
                continue
            said = {
                note.get("name", ""): note.get("value", "")
                for note in member.iterfind("annotation")
                if note.get("name", "").startswith(QT_NAME)
            }
            assert said == qt_types(member), member.get("name")


# Those of C++ that could be a property.
CPP_KEYWORDS = {
    "auto", "bool", "case", "class", "const", "default", "delete", "double", "explicit", "export", "extern",
    "float", "friend", "int", "long", "namespace", "new", "operator", "private", "protected", "public",
    "register", "return", "short", "signals", "signed", "slots", "static", "struct", "switch", "template",
    "this", "union", "unsigned", "using", "virtual", "void", "volatile",
}  # fmt: skip


def test_no_property_gets_a_getter_that_is_a_keyword_of_cpp() -> None:
    """qdbusxml2cpp names it after the property, with a lower-case letter first."""
    for file in FILES:
        for prop in etree.parse(str(file)).iterfind(".//property"):
            name = prop.get("name", "")
            getter = prop.find("annotation[@name='org.qtproject.QtDBus.PropertyGetter']")
            assert getter is not None or name[:1].lower() + name[1:] not in CPP_KEYWORDS, name

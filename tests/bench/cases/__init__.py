"""What is measured: one function for each bullet of "speed to reach". Each returns its rows of the table."""

from collections.abc import Callable

from tests.bench.cases.common import Scale
from tests.bench.cases.events import idle, storm, suspend
from tests.bench.cases.inventory import crowd, far_inventory, inventory
from tests.bench.cases.reads import get, listing
from tests.bench.cases.starting import far_sync, many
from tests.bench.cases.statistics import statistics
from tests.bench.cases.volumes import volumes
from tests.bench.stage import Stage
from tests.bench.table import Row

CASES: dict[str, Callable[[Stage, Scale], list[Row]]] = {
    case.__name__.replace("_", "-"): case
    for case in (
        inventory, far_inventory, crowd, get, listing, suspend, storm, idle, many, far_sync,
        volumes, statistics,
    )
}  # fmt: skip

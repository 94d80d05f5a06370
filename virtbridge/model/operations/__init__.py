"""The table of operations: one row for each thing that a caller can ask libvirt for, and the request for it.

row.py has what a row and a request are, parameters.py what many rows share. Each other file has the rows of
some kinds, and table.py joins them.
"""

from virtbridge.model.operations.row import (
    MOVING_MS,
    SETTLED_MS,
    Caller,
    Form,
    Operation,
    Parameter,
    Request,
)
from virtbridge.model.operations.table import OPERATIONS, operation_of

__all__ = [
    "MOVING_MS",
    "OPERATIONS",
    "SETTLED_MS",
    "Caller",
    "Form",
    "Operation",
    "Parameter",
    "Request",
    "operation_of",
]

"""Operations: what the owner of an installation may do, each once for the command line and for the running server."""

import importlib
import pkgutil
from collections.abc import Mapping

from paystate.entrypoints.operations.declare import Operation, operation, registry

__all__ = ["Operation", "operation", "operations"]


def operations() -> Mapping[str, Operation]:
    """Every operation by its name; whatever lies in this folder is found."""
    for info in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{info.name}")
    return registry

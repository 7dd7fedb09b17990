"""Import of optional packages."""

import importlib
from types import ModuleType


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional module, or say which extra of this package installs it.

    Raises:
        ValueError: the module cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        reason = " ".join(str(error).split())  # some packages give it in several lines
        raise ValueError(
            f"{purpose} needs the optional package {module!r}: pip install 'asr-parallel[{extra}]' ({reason})"
        ) from error

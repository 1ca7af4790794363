"""One file per verb of the command: compose the parts, run them, write the results."""

import atexit
import gc
import sys
from importlib import import_module
from types import ModuleType


def module_of(verb: str) -> ModuleType:
    """The module of a verb, imported with all that it needs.

    What modules hold lives as long as the process. Python would look for garbage in it again and
    again, which takes a tenth of the start.

    Args:
        verb: As on the command line.
    """
    name = f"{__name__}.{verb.replace(' ', '_')}"
    if name in sys.modules:
        return sys.modules[name]
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        gc.enable()
        # Else libraries in C++ warn at the end that they have leaked.
        atexit.register(gc.unfreeze)

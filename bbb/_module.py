"""Modules that are called like their main function."""

import sys
from collections.abc import Callable
from types import ModuleType


def make_callable(name: str, function: Callable[..., object]) -> None:
    """Make the module ``name`` callable.

    Importing a module makes Python store it in its package: ``bbb.predict`` is then the module and
    no longer the function of that name, and ``bbb.predict(model, x)`` has to work all the same.

    Args:
        name: Full name of the module.
        function: What a call of it calls.
    """
    kind = type("CallableModule", (ModuleType,), {"__call__": staticmethod(function)})
    sys.modules[name].__class__ = kind

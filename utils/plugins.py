"""A user's own code that a configuration or an option names as ``package.module:name``.

What is named so is imported, and so runs. Configurations and options of a command line are a user's own words; what
comes with a model folder is not, and nothing in one is ever looked up here.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from traceback import extract_tb
from typing import Any

from utils.errors import first_line
from utils.io import hash_file


def is_plugin(name: str) -> bool:
    """Whether a name is written as that of a plug-in, and not as one of a table."""
    return ":" in name


def load_plugin(name: str) -> Any:
    """What stands under a name in a module, which is imported.

    Args:
        name: ``package.module:name``; the module is installed, on ``PYTHONPATH``, or below the checkout.

    Raises:
        ValueError: If the name is not written so, or there is no such module, it cannot be imported, or lacks the name.
    """
    module, _, place = name.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), *place.split(".")]):
        raise ValueError(f"{name}: is no name of a plug-in; write package.module:name")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise ValueError(f"{name}: {module} needs {error.name}, which is not installed") from error
        raise ValueError(
            f"{name}: there is no module {error.name}; it must be installed, on PYTHONPATH, or below {sys.path[0]}"
        ) from error
    except (Exception, SystemExit) as error:  # whatever a module does while it is imported
        told = f"{type(error).__name__}: {first_line(error)}{_where(error)}"
        raise ValueError(f"{name}: {module} cannot be imported ({told})") from error
    for part in place.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{name}: {module} has no {place}")
        found = getattr(found, part)
    return found


def load_class(name: str, interface: type) -> Any:
    """A class of a plug-in.

    Args:
        name: As for :func:`load_plugin`.
        interface: The Protocol whose methods it must have.

    Raises:
        ValueError: As :func:`load_plugin`; if it is no class, or lacks methods, which are listed.
    """
    found = load_plugin(name)
    if not isinstance(found, type):
        raise ValueError(f"{name}: is no class but {describe_kind(found)}; name a class that is a {interface.__name__}")
    check_methods(found, interface, name)
    return found


def hash_source(name: str) -> str | None:
    """SHA-256 (hex) of the file that a plug-in is in; None where it has none, such as a module of Python's own."""
    file = getattr(importlib.import_module(name.partition(":")[0]), "__file__", None)
    return None if file is None else hash_file(Path(file))


def check_methods(found: object, interface: type, name: str) -> None:
    """Refuse what lacks methods of a Protocol.

    Raises:
        ValueError: Listing them; ``name`` begins the message.
    """
    methods = [method for method, value in vars(interface).items() if _is_method(method, value)]
    if missing := [method for method in methods if not callable(getattr(found, method, None))]:
        raise ValueError(f"{name}: is no {interface.__name__}: it lacks {', '.join(missing)}")


def describe_kind(found: object) -> str:
    """What something is, for a message, such as ``a function``."""
    kind = type(found).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def _is_method(name: str, value: object) -> bool:
    return not name.startswith("_") and (callable(value) or isinstance(value, classmethod))


def _where(error: BaseException) -> str:
    """The line of the module, or of what it imports, at which an import ended; a SyntaxError tells its own."""
    lines = [line for line in extract_tb(error.__traceback__) if not line.filename.startswith("<frozen ")]
    return f"; {lines[-1].filename}, line {lines[-1].lineno}" if lines[-1].filename != __file__ else ""

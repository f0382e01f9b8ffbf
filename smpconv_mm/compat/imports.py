"""A call after the import of a package that has no place for plug-ins, such as timm."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def after_import(name: str, call: Callable[[], object]) -> None:
    """Call a function once a package is imported: now, or when that happens.

    Args:
        name (str): Of the package.
        call (Callable): Called without arguments.
    """
    if name in sys.modules:
        call()
    else:
        sys.meta_path.insert(0, _Finder(name, call))


class _Finder(MetaPathFinder):
    """Finds nothing itself; lets the loader of one package make a call at its end."""

    def __init__(self, name: str, call: Callable[[], object]) -> None:
        self.name = name
        self.call = call

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if name != self.name:
            return None
        others = (finder for finder in list(sys.meta_path) if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, found), None)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                sys.meta_path.remove(self)
                self.call()

            spec.loader.exec_module = exec_module
        return spec

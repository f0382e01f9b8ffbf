"""Choosing a backend for an operation.

Every public operation of :mod:`smpconv_mm.ops` has a table of backends, best
first. A backend states what it cannot do through one function, ``unsupported``:
``auto`` asks it and takes the first backend without an objection; a forced
backend that objects raises the same sentence.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

logger = logging.getLogger('smpconv_mm')

ENV_VAR = 'SMPCONV_MM_BACKEND'


@dataclass(frozen=True)
class Backend:
    """One way to compute an operation.

    Attributes:
        name (str): Name by which users force it.
        fn (Callable): The implementation; takes the operation's arguments.
        unsupported (Callable): Takes the same arguments and returns ``None``
            when ``fn`` can serve them, else the failing condition with its
            value.
        needs (str): What it needs, in words, for :func:`explain`.
        slower (Callable): Takes the same arguments and returns ``None``, or why
            a later backend is faster for them; ``auto`` then goes on, a user
            who forces the backend gets it.
    """

    name: str
    fn: Callable
    unsupported: Callable[..., str | None]
    needs: str
    slower: Callable[..., str | None]


_TABLES: dict[str, list[Backend]] = {}
_FORCED: dict[str, str] = {}
_LOGGED: set[tuple[str, str]] = set()


def register_backend(
    op: str,
    name: str,
    unsupported: Callable[..., str | None] = lambda *args: None,
    needs: str = 'nothing',
    slower: Callable[..., str | None] = lambda *args: None,
) -> Callable[[Callable], Callable]:
    """Append the decorated function to the table of ``op`` (best first)."""

    def decorator(fn: Callable) -> Callable:
        _TABLES.setdefault(op, []).append(Backend(name, fn, unsupported, needs, slower))
        return fn

    return decorator


def operations() -> tuple[str, ...]:
    """Names of all operations that have a backend table."""
    return tuple(_TABLES)


def backends(op: str) -> tuple[str, ...]:
    """Names of the backends of ``op``, best first."""
    return tuple(backend.name for backend in _TABLES[op])


def _find(op: str, name: str) -> Backend:
    for backend in _TABLES[op]:
        if backend.name == name:
            return backend
    raise ValueError(
        f'{op} has no backend {name!r}; choose "auto" or one of {backends(op)}'
    )


def _from_environment(op: str) -> str | None:
    for part in filter(None, os.environ.get(ENV_VAR, '').split(',')):
        key, _, name = part.partition('=')
        if key.strip() not in _TABLES or not name:
            raise ValueError(
                f'{ENV_VAR}={part!r} is not understood: write '
                f'"operation=backend", with an operation of {operations()}'
            )
        if key.strip() == op:
            return name.strip()
    return None


def choose(op: str, backend: str, *args) -> Backend:
    """Return the backend that will compute ``op`` for these arguments.

    Args:
        op (str): Name of the operation.
        backend (str): ``'auto'`` or the name of a backend. With ``'auto'``, a
            choice made by :func:`use_backend` or by the environment variable
            ``SMPCONV_MM_BACKEND`` (``"operation=backend,..."``) counts.
        *args: The arguments of the operation.

    Raises:
        ValueError: If a forced backend does not exist.
        RuntimeError: If a forced backend cannot serve the arguments; the
            message says which condition failed.
    """
    if backend == 'auto':
        backend = _FORCED.get(op) or _from_environment(op) or 'auto'
    if backend != 'auto':
        chosen = _find(op, backend)
        reason = chosen.unsupported(*args)
        if reason is not None:
            raise RuntimeError(f'{op}: backend {backend!r} cannot run: {reason}')
        return chosen
    for chosen in _TABLES[op]:
        if chosen.unsupported(*args) is None and chosen.slower(*args) is None:
            if not torch.compiler.is_compiling() and (op, chosen.name) not in _LOGGED:
                _LOGGED.add((op, chosen.name))
                logger.debug('%s: using backend %r', op, chosen.name)
            return chosen
    raise RuntimeError(f'{op}: no backend can run:\n{explain(op, *args)}')


@contextmanager
def use_backend(op: str, name: str) -> Iterator[None]:
    """Force a backend of ``op`` for all calls with ``backend='auto'`` inside.

    Args:
        op (str): Name of the operation, e.g. ``'depthwise_conv2d'``.
        name (str): Name of a backend, or ``'auto'`` to undo an outer choice.
    """
    if op not in _TABLES:
        raise ValueError(f'unknown operation {op!r}; choose one of {operations()}')
    if name != 'auto':
        _find(op, name)
    before = _FORCED.get(op)
    _FORCED[op] = name
    try:
        yield
    finally:
        if before is None:
            del _FORCED[op]
        else:
            _FORCED[op] = before


def exporting() -> bool:
    """Whether somebody looks on who knows torch's own operators only."""
    if torch.jit.is_tracing():  # to ONNX, or to count operations
        return True
    return (
        torch.compiler.is_compiling()
        and getattr(torch.compiler, 'is_exporting', lambda: False)()
    )


def explain(op: str, *args) -> str:
    """Say, a line each, which backends of ``op`` exist and which would run.

    Without ``args`` the lines say what each backend needs; with the arguments
    of a call they say why a backend cannot serve it.
    """
    lines = []
    for backend in _TABLES[op]:
        if not args:
            lines.append(f'{backend.name}: needs {backend.needs}')
        else:
            reason = backend.unsupported(*args)
            if reason is None:
                reason = backend.slower(*args)
                reason = reason and f'can run, but {reason}'
            lines.append(f'{backend.name}: {"can run" if reason is None else reason}')
    return '\n'.join(lines)

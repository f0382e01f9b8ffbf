"""Choosing a backend for an operation.

Every public operation of :mod:`smpconv_mm.ops` has a list of backends, best
first. A backend says through :meth:`Backend.unsupported` what it cannot do, and
through :meth:`Backend.slower` where a later one is faster: ``auto`` takes the first
that objects to neither, and a forced backend that cannot run raises the sentence.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

logger = logging.getLogger('smpconv_mm')

ENV_VAR = 'SMPCONV_MM_BACKEND'


class Backend:
    """One way to compute an operation.

    A subclass sets ``name``, says in ``needs`` what it needs and writes
    :meth:`run`. All methods take the arguments of the operation, by position,
    checked and with defaults filled in.

    Attributes:
        name (str): Name by which users force it.
        needs (str): What it needs, in words, for :func:`explain`.
    """

    name: str
    needs = 'nothing'

    def unsupported(self, *args) -> str | None:
        """Return what prevents it from running, with the value, or None."""
        return None

    def slower(self, *args) -> str | None:
        """Return why a later backend is faster, or None.

        ``auto`` then goes on to the next; a user who forces this one gets it.
        """
        return None

    def run(self, *args):
        """Compute the operation."""
        raise NotImplementedError


def exporting() -> bool:
    """Whether a tracer or exporter is recording: it knows torch's operators only."""
    if torch.jit.is_tracing():  # to ONNX, or to count operations
        return True
    # torch.compile takes is_exporting() for true, whatever is compiled (2.11)
    return torch.compiler.is_compiling() and getattr(
        torch.compiler, '_is_exporting_flag', False
    )


def transforming() -> bool:
    """Whether a transform of ``torch.func`` (``vmap``, ``grad``, ...) is at work.

    It has rules for torch's own operators only.
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.peek_interpreter_stack() is not None


def watched() -> bool:
    """Whether a compiler, or a mode such as ``FlopCounterMode``, sees the operators."""
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0


def operators_matter() -> bool:
    """Whether an operator of this package must be called, or its kernel is enough.

    Gradients and those who watch need the operator; its call takes some microseconds.
    """
    return torch.is_grad_enabled() or watched()


class OperatorBackend(Backend):
    """A backend that runs by operators of this package.

    Exporters, tracers and the transforms of ``torch.func`` know torch's own only.
    """

    def unsupported(self, *args) -> str | None:
        """Return the reason, see :class:`Backend`."""
        if transforming():
            return "transforms of torch.func have rules for torch's own operators only"
        return None

    def slower(self, *args) -> str | None:
        """Return the reason, see :class:`Backend`."""
        return "an exporter knows torch's own operators only" if exporting() else None


class _Operation:
    def __init__(self, backends: Sequence[Backend], example: Callable) -> None:
        self.backends = list(backends)
        self.example = example


_OPERATIONS: dict[str, _Operation] = {}
_FORCED: dict[str, str] = {}
_LOGGED: set[tuple[str, str]] = set()


def register_operation(
    op: str, backends: Sequence[Backend], example: Callable[..., tuple]
) -> None:
    """Make an operation known.

    Args:
        op (str): Name of the operation, that of its public function.
        backends (Sequence[Backend]): Its backends, best first. The last should
            run always.
        example (Callable): Called as ``example(shape, kernel_size, **options)``
            with an input's (N, C, H, W), the side of a kernel, and ``dtype`` and
            ``device`` of the tensors. Returns arguments as the backends take
            them, of about that size; tables and tests are made from them.

    Raises:
        ValueError: If there is an operation of that name.
    """
    if op in _OPERATIONS:
        raise ValueError(f'there is an operation {op!r} already')
    _OPERATIONS[op] = _Operation(backends, example)


def register_backend(op: str, backend: Backend) -> None:
    """Append a backend to those of an operation, as the last choice."""
    _OPERATIONS[op].backends.append(backend)


def operations() -> tuple[str, ...]:
    """Names of all operations."""
    return tuple(_OPERATIONS)


def backends(op: str) -> tuple[str, ...]:
    """Names of the backends of ``op``, best first."""
    return tuple(backend.name for backend in _OPERATIONS[op].backends)


def example(op: str, shape: Sequence[int], kernel_size: int, **options) -> tuple:
    """Arguments for the backends of ``op``, see :func:`register_operation`."""
    return _OPERATIONS[op].example(shape, kernel_size, **options)


def find(op: str, name: str) -> Backend:
    """Return the backend of that name.

    Raises:
        ValueError: If ``op`` has none.
    """
    for backend in _OPERATIONS[op].backends:
        if backend.name == name:
            return backend
    raise ValueError(
        f'{op} has no backend {name!r}; choose "auto" or one of {backends(op)}'
    )


def _from_environment(op: str) -> str | None:
    for part in filter(None, os.environ.get(ENV_VAR, '').split(',')):
        key, _, name = part.partition('=')
        if key.strip() not in _OPERATIONS or not name:
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
        *args: The arguments of the operation, as its backends take them.

    Raises:
        ValueError: If a forced backend does not exist.
        RuntimeError: If a forced backend cannot serve the arguments; the
            message says which condition failed.
    """
    if backend == 'auto':
        backend = _FORCED.get(op) or _from_environment(op) or 'auto'
    if backend != 'auto':
        chosen = find(op, backend)
        reason = chosen.unsupported(*args)
        if reason is not None:
            raise RuntimeError(f'{op}: backend {backend!r} cannot run: {reason}')
        return chosen
    for chosen in _OPERATIONS[op].backends:
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

    Raises:
        ValueError: If the operation or the backend does not exist.
    """
    if op not in _OPERATIONS:
        raise ValueError(f'unknown operation {op!r}; choose one of {operations()}')
    if name != 'auto':
        find(op, name)
    before = _FORCED.get(op)
    _FORCED[op] = name
    try:
        yield
    finally:
        if before is None:
            del _FORCED[op]
        else:
            _FORCED[op] = before


def explain(op: str, *args) -> str:
    """Say, in one line per backend, which backends ``op`` has and which would run.

    Without ``args`` the lines say what each backend needs; with the arguments
    of a call, as the backends take them, they say why a backend cannot serve it.
    """
    lines = []
    for backend in _OPERATIONS[op].backends:
        if not args:
            lines.append(f'{backend.name}: needs {backend.needs}')
        else:
            reason = backend.unsupported(*args)
            if reason is None:
                reason = backend.slower(*args)
                reason = reason and f'can run, but {reason}'
            lines.append(f'{backend.name}: {"can run" if reason is None else reason}')
    return '\n'.join(lines)

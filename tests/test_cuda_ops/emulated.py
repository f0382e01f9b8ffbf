"""The device code of ``cuda_ops``, compiled for the CPU and called with tensors."""

import functools

import pytest
import torch
from cuda_emulator import COMPILER, CSRC, Driver, EmulatorError, compile_cpp, machine

__all__ = ['CSRC', 'EmulatorError', 'compile_cpp']

needs_compiler = pytest.mark.skipif(COMPILER is None, reason='no C++ compiler')


class Kernels(Driver):
    """An operator's kernels, called with tensors."""

    def call(self, function, shape, inputs, out_shape, **options):
        """Call a function of the driver.

        Args:
            function (str): Its name.
            shape (Sequence[int]): The members of the operator's struct of its shape.
            inputs (Sequence[Tensor | None]): Contiguous, of one dtype.
            out_shape (tuple[int, ...]): Shape of the result.
            options: Arguments of :func:`machine`.

        Returns:
            Tensor: The result, of the inputs' dtype.
        """
        dtype = inputs[0].dtype
        out = guarded(torch.full(out_shape, float('nan')), dtype)
        pointers = [None if t is None else t.data_ptr() for t in (*inputs, out)]
        super().call(function, machine(**options), shape, str(dtype)[6:], pointers)
        check_guards(out)
        return out


@functools.lru_cache
def kernels(driver):
    return Kernels(driver)


GUARD = 64  # elements: a multiple of 16 bytes in every dtype


def guarded(tensor, dtype, offset=0):
    """A contiguous copy with NaN before and behind it, to be found if it is read."""
    flat = torch.full((GUARD + offset + tensor.numel() + GUARD,), float('nan')).to(
        dtype
    )
    view = flat[GUARD + offset : flat.numel() - GUARD].view(tensor.shape)
    view.copy_(tensor)
    return view


def check_guards(view):
    flat = torch.empty(0, dtype=view.dtype).set_(view.untyped_storage())
    assert flat[:GUARD].isnan().all() and flat[-GUARD:].isnan().all(), (
        'a write out of bounds'
    )

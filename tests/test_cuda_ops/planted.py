"""Mistakes that are planted into device code, to see that tests find them."""

import ctypes
import tempfile
from pathlib import Path

from test_cuda_ops.emulated import CSRC, Kernels


class PlantedKernels(Kernels):
    """An operator's kernels with one of several mistakes, all compiled at once.

    Args:
        driver (str): As for :class:`Kernels`.
        mistakes (list[tuple]): What, name of the file, text and what is put there
            instead. In the text, « and » stand around the expression to replace.
    """

    def __init__(self, driver, mistakes):
        texts = {path.name: path.read_text() for path in CSRC.glob('*.cuh')}
        for number, (what, name, text, wrong) in enumerate(mistakes, start=1):
            before, rest = text.split('«')
            right, after = rest.split('»')
            assert texts[name].count(before + right + after) == 1, (
                f'no place for: {what}'
            )
            choice = f'(planted_mistake == {number} ? ({wrong}) : ({right}))'
            texts[name] = texts[name].replace(
                before + right + after, before + choice + after
            )
        name = 'primitives.cuh'
        texts[name] = texts[name].replace(
            '#pragma once', '#pragma once\nextern "C" { int planted_mistake = 0; }'
        )
        with tempfile.TemporaryDirectory() as folder:
            for name, text in texts.items():
                Path(folder, name).write_text(text)
            # not optimised: compiling takes longer than the few runs
            super().__init__(driver, folder, '-O0')

    def plant(self, number):
        """Make mistake ``number``, counted from 1; 0: none."""
        ctypes.c_int.in_dll(self.library, 'planted_mistake').value = number

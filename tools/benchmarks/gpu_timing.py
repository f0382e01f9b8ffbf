"""Times on a GPU, and rows of JSON: what the measurements of a GPU share.

Needs torch alone. Times are medians in microseconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from smpconv_mm.apis.benchmark import environment  # noqa: E402
from smpconv_mm.ops.extension import why_not  # noqa: E402

# channels, side of the map, side of the kernel: the stages of SMPNet-T
STAGES = [(96, 56, 31), (192, 28, 29), (384, 14, 27), (768, 7, 13)]
PASSES = ('forward', 'dx', 'dw')


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype)[len('torch.') :]


class Timer:
    """Times of a call on the current stream, each within about `seconds`."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.flush = torch.empty(256 * 2**20, dtype=torch.uint8, device='cuda')

    def _measure(self, call, repeats: int, cold: bool, queueing: float) -> list[float]:
        """Times of single calls by events, eight queued behind a wait at a time."""
        pairs = []
        for i in range(repeats):
            if i % 8 == 0:  # 2 cycles a nanosecond: longer than queueing takes
                torch.cuda._sleep(int(2e9 * 8 * (queueing + 1e-4)))
            if cold:
                self.flush.zero_()
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            pairs.append((start, end))
        torch.cuda.synchronize()
        return [1e3 * start.elapsed_time(end) for start, end in pairs]

    def rough(self, call) -> tuple[float, float]:
        """Microseconds of a call, and seconds that its queueing takes."""
        call()
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        queueing = time.perf_counter() - start
        torch.cuda.synchronize()
        return self._measure(call, 1, True, queueing)[0], queueing

    def _repeats(self, microseconds: float, least: int, most: int) -> int:
        return int(max(least, min(most, 1e6 * self.seconds / 3 / (microseconds + 150))))

    def cold(self, call) -> float:
        """With the L2 cache overwritten before each call."""
        rough, queueing = self.rough(call)
        repeats = self._repeats(rough, 3, 40)
        return statistics.median(self._measure(call, repeats, True, queueing))

    def warm(self, call) -> float:
        """By a CUDA graph of several calls, replayed."""
        rough, _ = self.rough(call)
        count = int(max(1, min(20, 2000 / rough)))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(count):
                call()
        graph.replay()
        repeats = self._repeats(count * rough, 3, 20)
        times = self._measure(graph.replay, repeats, False, 1e-5)
        return statistics.median(times) / count

    def graph(self, call) -> float:
        """Of a call that was captured as a CUDA graph: no time of the host in it."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # what is made at first must not be captured
            for _ in range(3):
                call()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        graph.replay()
        return self.eager(graph.replay)

    def eager(self, call) -> float:
        """Wall time of a call in a row of calls, queueing included."""
        rough, _ = self.rough(call)
        count = int(max(1, min(50, 1e6 * self.seconds / 5 / rough)))
        start = time.perf_counter()
        for _ in range(count):
            call()
        torch.cuda.synchronize()
        return 1e6 * (time.perf_counter() - start) / count

    def all(self, call) -> dict:
        """`cold`, `warm` and `eager`."""
        return dict(cold=self.cold(call), warm=self.warm(call), eager=self.eager(call))


class Rows:
    """Rows of JSON, each written as it comes; knows when to stop."""

    def __init__(self, path: str | None, seconds: float):
        self.file = open(path, 'a') if path else None
        self.deadline = time.monotonic() + seconds

    def late(self) -> bool:
        return time.monotonic() > self.deadline

    def add(self, part: str, **row) -> None:
        numbers = {
            k: float(f'{v:.5g}') if isinstance(v, float) else v for k, v in row.items()
        }
        line = json.dumps(dict(part=part, **numbers))
        print(line, flush=True)
        if self.file:
            self.file.write(line + '\n')
            self.file.flush()

    def add_environment(self) -> None:
        """The GPU, the software, and whether libraries may round to TF32."""
        major, minor = torch.cuda.get_device_capability()
        self.add(
            'environment',
            **environment('cuda'),
            capability=f'{major}.{minor}',
            python=sys.version.split()[0],
            tf32=torch.backends.cudnn.allow_tf32,
        )


def parser(description: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument('--json', help='rows are added to this file')
    made.add_argument('--seconds', type=float, default=0.1, help='of a measurement')
    made.add_argument('--deadline', type=float, default=3600, help='of all, in seconds')
    return made


def start(args) -> tuple[Rows, Timer]:
    """What measures and what writes; leaves the program where no GPU is at hand."""
    name = Path(sys.argv[0]).name
    if not torch.cuda.is_available():
        sys.exit(f'{name}: torch sees no GPU')
    for op in ('depthwise_conv2d', 'depthwise_conv2d_weight'):
        if (reason := why_not(op, 'cuda')) is not None:
            sys.exit(f'{name}: {reason}')
    return Rows(args.json, args.deadline), Timer(args.seconds)


# A pass of a depthwise convolution, as a call without arguments.


def make(batch: int, channels: int, side: int, kernel: int, dtype: torch.dtype):
    """Map, kernel, gradient of the output."""
    x, grad = torch.randn(2, batch, channels, side, side, device='cuda').to(dtype)
    weight = torch.randn(channels, 1, kernel, kernel, device='cuda') / kernel
    return x, weight.to(dtype), grad


def ours(which: str, x, weight, grad):
    """By the compiled operators, in the memory format of the maps."""
    ext = torch.ops.smpconv_mm_ext
    if which == 'dw':
        sides = weight.shape[2:]
        return lambda: ext.depthwise_conv2d_weight(x, grad, *sides)
    if which == 'dx':
        return lambda: ext.depthwise_conv2d(grad, weight, None, True)
    return lambda: ext.depthwise_conv2d(x, weight, None)


def library(which: str, x, weight, grad):
    """By torch's own convolution, in the memory format of the maps."""
    conv = torch.ops.aten.convolution
    backward = torch.ops.aten.convolution_backward
    padding, groups = [side // 2 for side in weight.shape[2:]], len(weight)
    rest = [[1, 1], padding, [1, 1], False, [0, 0], groups]
    if which == 'forward':
        return lambda: conv(x, weight, None, *rest)
    mask = [which == 'dx', which == 'dw', False]
    return lambda: backward(grad, x, weight, None, *rest, mask)


def channels_last(*tensors):
    return [t.contiguous(memory_format=torch.channels_last) for t in tensors]

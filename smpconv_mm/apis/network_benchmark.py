"""Speed of whole networks at inference, compared with each other in one run."""

from __future__ import annotations

import ctypes
import gc
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from smpconv_mm.engine.config import load_config
from smpconv_mm.errors import UsageError
from smpconv_mm.layers import keep_kernels

from . import benchmark, complexity
from .models import Network, compile_frozen

FORMS = ('deploy', 'channels-last', 'compile')


@dataclass(frozen=True)
class Contender:
    """A network and the form in which it runs.

    Attributes:
        config (str): Config file, or ``'package::folder/name.py'``.
        forms (frozenset[str]): Some of :data:`FORMS`; without any, the training
            form in eval mode, whose kernels are made once.
    """

    config: str
    forms: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Contender:
        """Read ``'CONFIG+deploy+channels-last'``.

        Raises:
            UsageError: If a form is unknown.
        """
        config, *forms = text.split('+')
        unknown = set(forms) - set(FORMS)
        if unknown:
            raise UsageError(
                f'{text}: unknown form {min(unknown)!r}; choose of {", ".join(FORMS)}'
            )
        return cls(config, frozenset(forms))

    def __str__(self) -> str:
        """Name of the file and the forms."""
        return '+'.join(
            [Path(self.config).stem, *(f for f in FORMS if f in self.forms)]
        )

    @torch.no_grad()
    def build(self, shape: Sequence[int], device: str) -> tuple[Network, Tensor]:
        """The network with random weights, and one input of ``shape``.

        Raises:
            UsageError: If deploy form gives other outputs than training form.
        """
        torch.manual_seed(0)
        network = Network(load_config(self.config))
        shape = tuple(shape) * network.ndim if len(shape) == 1 else tuple(shape)
        x = torch.randn(1, network.in_channels, *shape)
        if 'deploy' in self.forms:
            before = _last(network(x))
            error = (_last(network.deploy()(x)) - before).abs().max()
            error = float(error / before.abs().max().clamp(min=1e-30))
            if not error <= 1e-3:
                raise UsageError(
                    f'{self}: deploy form differs by {error:.1e} (relative) from the '
                    'training form'
                )
        network.requires_grad_(False).to(device)
        x = x.to(device)
        if 'channels-last' in self.forms:
            network.to(memory_format=torch.channels_last)
        return network, x

    def runner(self, network: Network, x: Tensor, batch: int) -> Callable[[], object]:
        """What is timed: one forward pass of ``batch`` inputs."""
        inputs = x.repeat(batch, *(1,) * (x.dim() - 1))
        if 'channels-last' in self.forms:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        called: Callable = network
        if 'compile' in self.forms:
            called = compile_frozen(network)

        def run() -> object:
            with torch.no_grad():
                return called(inputs)

        return run


def compare(
    contenders: Sequence[Contender],
    batches: Sequence[int] = (1, 8),
    shape: Sequence[int] = (224,),
    device: str = 'cpu',
    rounds: int = 5,
    seconds: float = 1.0,
    report: Callable[[dict], object] = lambda row: None,
) -> list[dict]:
    """Time contenders by turns.

    Each round times all of them, so that a machine that is slower for a while is
    so for all; a ratio is the median of the rounds' ratios to the first
    contender. Weights are random.

    Args:
        contenders (Sequence[Contender]): What is compared, the first with all
            others.
        batches (Sequence[int]): Numbers of inputs. Defaults to (1, 8).
        shape (Sequence[int]): Size of an input; one number: a square. Defaults
            to (224, ).
        device (str): Defaults to ``'cpu'``.
        rounds (int): Defaults to 5.
        seconds (float): For which a contender runs in a round, at least three
            times. Defaults to 1.
        report (Callable): Called with each row when it is there.

    Returns:
        list[dict]: A row for each batch and contender: ``contender``, ``batch``, ``ms``
        (median), ``per_s`` (inputs per second), ``ratio`` (times slower than the
        first), ``gmacs`` (multiply-adds of an input), ``ms_per_gmac``,
        ``peak_mib`` (CPU: resident memory that a process of its own needs above
        its size before the network; GPU: weights and maps), and ``share``, the
        operators' shares of the time.

    Raises:
        UsageError: If a config does not exist, or deploy form is not equal.
    """
    # by index, as two may have the same name
    triples = {i: (c, *c.build(shape, device)) for i, c in enumerate(contenders)}
    gmacs = {
        i: complexity.measure(network, x.shape[1:]).total / 1e9
        for i, (_, network, x) in triples.items()
    }

    def prepare(batch: int, triple: tuple[Contender, Network, Tensor]) -> dict:
        contender, network, x = triple
        call = contender.runner(network, x, batch)
        peak = _peak(contender, network, batch, shape, device, call)
        return dict(ms=call, peak_mib=peak, share=_shares(call, device))

    def finished(row: dict) -> dict:
        macs = gmacs[row['contender']]
        return dict(
            contender=str(contenders[row['contender']]),
            batch=row['case'],
            ms=row['ms'],
            per_s=1e3 * row['case'] / row['ms'],
            ratio=1 / row['ms x'],
            gmacs=macs,
            ms_per_gmac=row['ms'] / row['case'] / macs,
            peak_mib=row['peak_mib'],
            share=row['share'],
        )

    with ExitStack() as stack:
        for _, network, _ in triples.values():
            stack.enter_context(keep_kernels(network))
        rows = benchmark.run(
            {batch: batch for batch in batches},
            triples,
            prepare,
            device=device,
            seconds=rounds * seconds,
            rounds=rounds,
            report=lambda row: report(finished(row)),
        )
    return [finished(row) for row in rows]


def _last(out: Tensor | tuple[Tensor, ...]) -> Tensor:
    return out[-1] if isinstance(out, tuple) else out


def _shares(run: Callable[[], object], device: str) -> dict[str, float]:
    """Share of the time by operator, those of a hundredth and more."""
    activities = [ProfilerActivity.CPU]
    kind = 'self_cpu_time_total'
    if device != 'cpu':
        activities.append(ProfilerActivity.CUDA)
        kind = 'self_device_time_total'
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Warning: Profiler clears events')
        with profile(activities=activities) as found:
            for _ in range(3):
                run()
    times = {event.key: getattr(event, kind) for event in found.key_averages()}
    total = sum(times.values()) or 1
    ordered = sorted(times.items(), key=lambda item: -item[1])
    return {key: round(t / total, 3) for key, t in ordered if t >= total / 100}


def _peak(contender, network, batch, shape, device, call) -> float | None:
    if device != 'cpu':
        others = benchmark.memory(device)
        others -= sum(t.nbytes for t in network.state_dict().values()) / 2**20
        benchmark.forget_peak(device)
        call()
        return benchmark.memory(device, peak=True) - others
    if not Path('/proc/self/clear_refs').exists():
        return None  # known on Linux only
    return benchmark.in_new_process(_peak_of_process, contender, batch, tuple(shape))


def _peak_of_process(contender, batch, shape) -> float:
    before = benchmark.memory('cpu')
    network, x = contender.build(shape, 'cpu')
    call = contender.runner(network, x, batch)
    with keep_kernels(network):
        if 'compile' in contender.forms:
            call()  # memory that compiling needs and frees is not counted
        gc.collect()
        # return freed memory to the system, where the C library can
        getattr(ctypes.CDLL(None), 'malloc_trim', lambda pad: None)(0)
        benchmark.forget_peak('cpu')
        call()
        return benchmark.memory('cpu', peak=True) - before

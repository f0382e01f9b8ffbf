"""Fit a function with self-moving points, and with networks of the same size.

The first experiment of SMPConv (CVPR 2023): points that move each on its own have
no bias towards low frequencies, which networks of coordinates have.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, pstdev

import torch
from torch import Tensor, nn

from smpconv_mm import ops
from smpconv_mm.checkpoint import atomic_path
from smpconv_mm.errors import UsageError
from smpconv_mm.layers import (
    MLP,
    NSIREN,
    SIREN,
    FourierNet,
    GaborNet,
    MAGNet,
    SMPKernel,
)


class PointField(nn.Module):
    """A function on [-1, 1]^d made of points: an :class:`SMPKernel`.

    Unlike in a convolution the points start spread evenly over the domain.

    Args:
        size (Sequence[int]): Places per axis where it is evaluated.
        parameters (int): About how many; ``d + 2`` per point.
        normalize (bool): Average over the points that are active, as in the
            paper, or sum them up.
        seed (int): For the start of the points.
    """

    def __init__(
        self, size: Sequence[int], parameters: int, normalize: bool, seed: int
    ) -> None:
        super().__init__()
        ndim = len(size)
        points = max(1, round(parameters / (ndim + 2)))
        # one and a half times the distance between neighbours
        radius = min(1.0, 3 / points ** (1 / ndim))
        self.kernel = SMPKernel(
            1, 1, size, ndim, n_points=points, normalize=normalize, radius=radius
        )
        even = torch.quasirandom.SobolEngine(ndim, scramble=True, seed=seed)
        with torch.no_grad():
            self.kernel.coord.copy_(2 * even.draw(points) - 1)

    def groups(self, rate: float) -> list[dict]:
        """Parameters with their learning rates; radii learn slower."""
        kernel = self.kernel
        return [
            dict(params=[kernel.weight], lr=rate),
            dict(params=[kernel.coord], lr=rate * _COORD_RATE),
            dict(params=[kernel.radius], lr=rate * _COORD_RATE * 0.1),
        ]

    def forward(self) -> Tensor:
        """Values at all places, of shape ``size``."""
        # faster than the dense product at any radius, as there is one slice only
        with ops.use_backend('smp_kernel', 'window'):
            return self.kernel.make_kernel()[0, 0]


# over the learning rate of the weights
_COORD_RATE = 0.03


class CoordinateNet(nn.Module):
    """A function on [-1, 1]^d made by a network of positions, of equal width.

    Args:
        size (Sequence[int]): Places per axis where it is evaluated.
        parameters (int): As many as a width gets nearest to.
        kind (str): ``'relu'``, an MLP; ``'siren'`` (Sitzmann et al., NeurIPS 2020:
            sines of frequency 30); ``'nsiren'``, the same with phases that are not
            multiplied; ``'features'`` (Tancik et al., NeurIPS 2020: an MLP after fixed
            random sines and cosines), of three hidden layers each. Or a
            multiplicative network with three products: ``'fourier'``, ``'gabor'``
            (Fathony et al., ICLR 2021) or ``'magnet'`` (FlexConv, ICLR 2022).
    """

    def __init__(self, size: Sequence[int], parameters: int, kind: str) -> None:
        super().__init__()
        axes = [torch.linspace(-1, 1, n) for n in size]
        places = torch.stack(torch.meshgrid(*axes, indexing='ij'))[None]
        ndim = len(size)

        def count(width: int) -> int:
            return _parameters(kind, ndim, width)

        width = min(range(1, 2048), key=lambda w: abs(count(w) - parameters))
        inputs = ndim
        if kind == 'features':
            inputs = 2 * width
            frequencies = torch.randn(ndim, width) * _FOURIER_PERIODS[ndim]
            angles = torch.pi * torch.einsum('nd...,dw->nw...', places, frequencies)
            places = torch.cat([angles.sin(), angles.cos()], dim=1)
        self.register_buffer('places', places)
        net, options = _NETS[kind]
        self.net = net(inputs, 1, width, **options)

    def groups(self, rate: float) -> list[dict]:
        """Parameters with their learning rate."""
        return [dict(params=list(self.parameters()), lr=rate)]

    def forward(self) -> Tensor:
        """Values at all places, of shape ``size``."""
        return self.net(self.places)[0, 0]


_NETS = {
    'relu': (MLP, dict(num_layers=4, norm_cfg=None)),
    'siren': (SIREN, dict(num_layers=4, omega_0=30.0)),
    'nsiren': (NSIREN, dict(num_layers=4, omega_0=30.0)),
    'features': (MLP, dict(num_layers=4, norm_cfg=None)),
    'fourier': (FourierNet, dict(num_layers=3, input_scale=256.0)),
    'gabor': (GaborNet, dict(num_layers=3, input_scale=256.0)),
    'magnet': (MAGNet, dict(num_layers=3, input_scale=256.0)),
}


def _parameters(kind: str, ndim: int, width: int) -> int:
    """Parameters of a network of this width."""
    hidden, output = width * width + width, width + 1
    if kind in ('relu', 'siren', 'nsiren', 'features'):
        inputs = 2 * width if kind == 'features' else ndim
        return inputs * width + width + 2 * hidden + output
    gaussian = {'fourier': 0, 'gabor': ndim + 1, 'magnet': 2 * ndim}[kind]
    return 3 * hidden + output + 4 * width * (ndim + 1 + gaussian)


# standard deviation of the random frequencies, in periods over the domain
_FOURIER_PERIODS = {1: 20.0, 2: 5.0}


@dataclass(frozen=True)
class Method:
    """A way to fit: its name in tables, its learning rate for Adam, its maker."""

    title: str
    rate: float
    build: Callable[[Sequence[int], int, int], nn.Module]


METHODS = {
    'smp': Method('SMP', 1e-1, lambda s, p, i: PointField(s, p, True, i)),
    'smp-sum': Method('SMP, sum', 3e-2, lambda s, p, i: PointField(s, p, False, i)),
    **{
        kind: Method(title, rate, lambda s, p, _, k=kind: CoordinateNet(s, p, k))
        for kind, title, rate in [
            ('relu', 'ReLU MLP', 3e-2),
            ('siren', 'SIREN', 3e-3),
            ('nsiren', 'NSIREN', 3e-3),
            ('features', 'Fourier features', 3e-2),
            ('fourier', 'FourierNet', 1e-2),
            ('gabor', 'GaborNet', 1e-2),
            ('magnet', 'MAGNet', 1e-2),
        ]
    },
}


@dataclass
class Frame:
    """A moment of a fit: values, and the positions, radii and weights of points."""

    step: int
    values: Tensor
    coord: Tensor | None = None
    radius: Tensor | None = None
    weight: Tensor | None = None


@dataclass
class Fit:
    """One run.

    Attributes:
        signal, method, seed: What was run.
        parameters (int): That were learnt.
        psnr (list[float]): Peak signal to noise ratio, dB, after 0, 1, ...
            steps; the peak is the range of the signal.
        seconds (list[float]): Training time until then.
        frames (list[Frame]): Moments, less and less frequent.
    """

    signal: str
    method: str
    seed: int
    parameters: int
    psnr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)

    def at_step(self, step: int) -> float:
        """PSNR after so many steps."""
        return self.psnr[step]

    def at_second(self, second: float) -> float:
        """PSNR of the last step that was done by then."""
        return self.psnr[sum(t <= second for t in self.seconds) - 1]


def fit(
    target: Tensor,
    method: str,
    parameters: int,
    steps: int,
    seconds: float,
    seed: int,
    name: str = '',
) -> Fit:
    """Fit all values of a function by Adam, for so many steps and seconds.

    Args:
        target (Tensor): Values (L,) or (H, W) in [-1, 1].
        method (str): One of :data:`METHODS`.
        parameters (int): About how many to learn.
        steps (int): At least so many.
        seconds (float): At least so long.
        seed (int): Seed of all random numbers.
        name (str): Name of the signal, kept in the result.
    """
    torch.manual_seed(seed)
    model = METHODS[method].build(target.shape, parameters, seed)
    optimizer = torch.optim.Adam(model.groups(METHODS[method].rate))
    run = Fit(name, method, seed, sum(p.numel() for p in model.parameters()))
    spent = 0.0
    while True:
        start = time.perf_counter()
        values = model()
        loss = (values - target).square().mean()
        error = max(float(loss.detach()), 1e-12)
        spent += time.perf_counter() - start
        step = len(run.psnr)
        run.psnr.append(10 * math.log10(4 / error))
        run.seconds.append(spent)
        if step <= steps and (
            step == steps or not run.frames or step >= 1.1 * run.frames[-1].step
        ):
            run.frames.append(_frame(step, model, values))
        if step >= steps and spent >= seconds:
            return run
        start = time.perf_counter()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if isinstance(model, PointField):
            model.kernel.after_step()
        spent += time.perf_counter() - start


def _frame(step: int, model: nn.Module, values: Tensor) -> Frame:
    frame = Frame(step, values.detach().clone())
    if isinstance(model, PointField):
        kernel = model.kernel
        frame.coord = kernel.coord[0].detach().clone()
        frame.radius = kernel.radius[0].detach().clone()
        frame.weight = kernel.weight[0, 0].detach().clone()
    return frame


def fit_all(
    signals: dict[str, Tensor],
    steps: Sequence[int],
    seconds: Sequence[float],
    seeds: Sequence[int],
    parameters: int | None = None,
) -> Iterator[Fit]:
    """Fit every signal by every method with every seed.

    Args:
        signals (dict[str, Tensor]): See :func:`.signals.load_signal`.
        steps (Sequence[int]): Each fit takes at least the largest number of them.
        seconds (Sequence[float]): Each fit lasts at least the longest of them.
        seeds (Sequence[int]): One run with each.
        parameters (int, optional): Defaults to None: half as many as the
            signal has values.

    Raises:
        UsageError: If an argument is not positive.
    """
    given = [*steps, *seconds, *([] if parameters is None else [parameters])]
    if any(value <= 0 for value in given) or not (steps and seconds and seeds):
        raise UsageError(
            'steps, seconds, seeds and parameters must be given and positive, got '
            f'{list(steps)}, {list(seconds)}, {list(seeds)} and {parameters}'
        )
    for name, target in signals.items():
        for method in METHODS:
            for seed in seeds:
                yield fit(
                    target,
                    method,
                    parameters or target.numel() // 2,
                    max(steps),
                    max(seconds),
                    seed,
                    name,
                )


@dataclass
class Row:
    """PSNR of all methods on a signal with a budget.

    Attributes:
        signal (str): Its name.
        budget (str): ``'100 steps'`` or ``'0.5 s'``.
        psnr (dict[str, tuple[float, float]]): For each method the mean and standard
            deviation over seeds, in dB.
    """

    signal: str
    budget: str
    psnr: dict[str, tuple[float, float]]

    @property
    def best(self) -> str:
        """The method with the highest mean."""
        return max(self.psnr, key=lambda method: self.psnr[method][0])


def summarise(
    fits: Sequence[Fit], steps: Sequence[int], seconds: Sequence[float]
) -> list[Row]:
    """Table of PSNR at fixed steps and at fixed seconds."""
    rows = []
    for signal in dict.fromkeys(run.signal for run in fits):
        budgets = [(f'{s} steps', Fit.at_step, s) for s in steps]
        budgets += [(f'{s:g} s', Fit.at_second, s) for s in seconds]
        for budget, read, amount in budgets:
            psnr = {}
            for method in METHODS:
                values = [
                    read(run, amount)
                    for run in fits
                    if (run.signal, run.method) == (signal, method)
                ]
                psnr[method] = (mean(values), pstdev(values))
            rows.append(Row(signal, budget, psnr))
    return rows


def write_results(
    fits: Sequence[Fit],
    steps: Sequence[int],
    seconds: Sequence[float],
    folder: str | Path,
) -> None:
    """Write ``psnr.json`` (every run) and ``psnr.csv`` (the table)."""
    runs = [
        dict(
            signal=run.signal,
            method=run.method,
            seed=run.seed,
            parameters=run.parameters,
            learning_rate=METHODS[run.method].rate,
            milliseconds_a_step=1e3 * run.seconds[-1] / len(run.seconds),
            psnr_at_steps={s: run.at_step(s) for s in steps},
            psnr_at_seconds={s: run.at_second(s) for s in seconds},
        )
        for run in fits
    ]
    with atomic_path(Path(folder, 'psnr.json')) as path:
        path.write_text(json.dumps(runs, indent=1))
    with atomic_path(Path(folder, 'psnr.csv')) as path, open(path, 'w') as file:
        writer = csv.writer(file)
        titles = [f'{method} {what}' for method in METHODS for what in ('mean', 'std')]
        writer.writerow(['signal', 'budget', *titles])
        for row in summarise(fits, steps, seconds):
            values = [f'{v:.2f}' for method in METHODS for v in row.psnr[method]]
            writer.writerow([row.signal, row.budget, *values])

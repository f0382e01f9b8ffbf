import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from projects.function_fitting.fitting import (
    METHODS,
    CoordinateNet,
    Fit,
    PointField,
    fit,
    fit_all,
    summarise,
    write_results,
)
from projects.function_fitting.pictures import animate_points, draw_fits
from projects.function_fitting.signals import KERNELS, SIGNALS, load_signal
from smpconv_mm.errors import UsageError


@pytest.mark.parametrize('name', [*SIGNALS, *KERNELS])
def test_signals(name):
    values = load_signal(name)
    assert values.dtype == torch.float32
    assert (float(values.min()), float(values.max())) == (-1, 1)
    assert values.dim() == (2 if name == 'image' or name in KERNELS else 1)
    assert torch.equal(values, load_signal(name))


def test_high_frequencies_are_in_the_signals():
    sinusoids = load_signal('sinusoids')
    spectrum = torch.fft.rfft(sinusoids - sinusoids.mean()).abs()
    assert spectrum.topk(10).indices.sort().values.tolist() == list(range(5, 51, 5))
    chirp = load_signal('chirp')
    crossings = (chirp[1:] * chirp[:-1] < 0).sum()
    assert 2 * 30 <= int(crossings) <= 2 * 31  # periods: mean of 1 and 60


def test_files(tmp_path):
    rng = np.random.default_rng(0)
    stereo = rng.integers(-9000, 9000, (20000, 2)).astype(np.int16)
    wavfile.write(tmp_path / 'a.wav', 8000, stereo)
    np.save(tmp_path / 'b.npy', rng.random((4, 5)))
    values = load_signal(str(tmp_path / 'a.wav'))
    assert values.shape == (16384,)
    assert np.corrcoef(values, stereo[:16384, 0])[0, 1] > 0.9999
    assert load_signal(str(tmp_path / 'b.npy')).shape == (4, 5)


@pytest.mark.parametrize(
    'name, content, message',
    [
        ('sinus', None, "'sinus' is neither one of sinusoids, step"),
        ('no.wav', None, 'no.wav does not exist'),
        ('bad.wav', b'RIFF', 'bad.wav cannot be read'),
        ('bad.npy', b'no array', 'bad.npy cannot be read'),
        ('flat.npy', np.zeros(9), 'constant or not finite'),
        ('nan.npy', np.array([0, np.nan]), 'constant or not finite'),
        ('cube.npy', np.ones((3, 3, 3)), r'has shape \(3, 3, 3\); it must have one'),
        ('object.npy', np.array([{}]), 'object.npy cannot be read'),
    ],
)
def test_bad_signals(name, content, message, tmp_path):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(UsageError, match=message):
        load_signal(str(path) if '.' in name else name)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('size', [(64,), (12, 16)])
def test_equal_sizes_and_shapes(method, size):
    torch.manual_seed(0)
    for parameters in (200, 3000):
        field = METHODS[method].build(size, parameters, 0)
        learnt = sum(p.numel() for p in field.parameters())
        assert abs(learnt - parameters) < 0.15 * parameters
        assert field().shape == size
        in_groups = [p for group in field.groups(0.1) for p in group['params']]
        assert {id(p) for p in in_groups} == {id(p) for p in field.parameters()}


def test_siren_starts_with_the_spread_of_its_paper():
    """Inputs of hidden sines, but for biases, have a deviation of 1."""
    torch.manual_seed(0)
    net = CoordinateNet((2048,), 200_000, 'siren')
    x = net.places[0]
    for i, layer in enumerate(net.net.layers):
        if i > 0:
            spread = 30 * (layer.weight @ x).std()
            assert spread.item() == pytest.approx(1, abs=0.1)
        x = layer(x)


def test_points_start_evenly():
    field = PointField((64,), 300, True, seed=0)
    gaps = field.kernel.coord[0, :, 0].detach().sort().values.diff()
    assert len(gaps) == 99 and float(gaps.max()) < 3 * 2 / 100
    other = PointField((64,), 300, True, seed=1)
    assert not torch.equal(field.kernel.coord, other.kernel.coord)


def test_fit():
    target = load_signal('sawtooth')[::4]
    run = fit(target, 'smp', 128, 30, 0.0, seed=3)
    assert len(run.psnr) == 31 == len(run.seconds)
    # what the PSNR says
    error = (run.frames[-1].values - target).square().mean()
    assert run.at_step(30) == pytest.approx(float(10 * torch.log10(4 / error)))
    assert run.at_step(30) > run.at_step(0) + 3
    assert [f.step for f in run.frames][:4] == [0, 1, 2, 3]
    assert run.frames[-1].step == 30
    assert not torch.equal(run.frames[0].coord, run.frames[-1].coord)
    assert run.frames[0].coord.shape == (run.parameters // 3, 1)
    again = fit(target, 'smp', 128, 30, 0.0, seed=3)
    assert again.psnr == run.psnr
    longer = fit(target, 'relu', 128, 1, 0.5, seed=3)
    assert len(longer.psnr) > 2 and longer.seconds[-1] >= 0.5
    assert longer.frames[-1].step == 1 and longer.frames[0].coord is None


def test_budgets():
    run = Fit('x', 'smp', 0, 9, [1.0, 2.0, 3.0], [0.1, 0.2, 0.4])
    assert [run.at_step(s) for s in (0, 2)] == [1, 3]
    assert [run.at_second(s) for s in (0.2, 0.3, 0.4, 9)] == [2, 2, 3, 3]


@pytest.mark.parametrize('name', ['sinusoids', 'chirp'])
def test_high_frequencies_come_first(name):
    """The claim of the paper: no bias towards low frequencies."""
    target = load_signal(name)
    psnr = {
        method: fit(target, method, 512, 10, 0.0, seed=0).at_step(10)
        for method in METHODS
    }
    for method in ('relu', 'siren', 'nsiren', 'features'):
        assert min(psnr['smp'], psnr['smp-sum']) > psnr[method] + 1, psnr


def test_tables_and_pictures(tmp_path):
    signals = {'step': load_signal('step')[::8], 'image': load_signal('image')[:9, :12]}
    budgets = ([2, 4], [0.01])
    fits = list(fit_all(signals, *budgets, seeds=[0, 1]))
    assert len(fits) == 2 * len(METHODS) * 2
    rows = summarise(fits, *budgets)
    assert [(r.signal, r.budget) for r in rows] == [
        (signal, budget)
        for signal in signals
        for budget in ('2 steps', '4 steps', '0.01 s')
    ]
    own = [r.at_step(2) for r in fits if (r.signal, r.method) == ('step', 'relu')]
    assert rows[0].psnr['relu'] == pytest.approx((np.mean(own), np.std(own)))
    assert rows[0].psnr[rows[0].best][0] == max(m for m, _ in rows[0].psnr.values())
    write_results(fits, *budgets, tmp_path)
    runs = json.loads((tmp_path / 'psnr.json').read_text())
    assert len(runs) == len(fits)
    assert runs[0]['psnr_at_steps'] == {
        '2': fits[0].at_step(2),
        '4': fits[0].at_step(4),
    }
    with open(tmp_path / 'psnr.csv') as file:
        table = list(csv.DictReader(file))
    assert len(table) == 6
    assert float(table[0]['relu mean']) == pytest.approx(np.mean(own), abs=0.01)

    figure = draw_fits(signals, fits)
    assert len(figure.axes) == 2 * (len(METHODS) + 2)
    for name, target in signals.items():
        run = next(r for r in fits if (r.signal, r.method) == (name, 'smp'))
        animate_points(target, run, tmp_path / f'{name}.gif', rate=2)
        with Image.open(tmp_path / f'{name}.gif') as gif:
            # the last, which is shown longer, is one frame
            assert gif.n_frames == len(run.frames)
            assert np.asarray(gif.convert('RGB')).std() > 5
    with pytest.raises(ValueError, match="'relu' has no points"):
        animate_points(target, next(r for r in fits if r.method == 'relu'), 'x.gif')
    with pytest.raises(UsageError, match='must be given and positive'):
        list(fit_all(signals, [0], [1.0], [0]))


def test_tool(run_tool, tmp_path):
    folder = tmp_path / 'out'
    signal = tmp_path / 'short.npy'
    np.save(signal, load_signal('eeg')[:100])
    tool = 'projects.function_fitting'
    small = ('--steps', 3, '--seconds', 0.01, '--seeds', 0, '--params', 60)
    out = run_tool(tool, '--signals', signal, *small, '--out-dir', folder).stdout
    assert 'SIREN' in out and 'after 3 steps' in out and 'short, parameters' in out
    assert {p.name for p in folder.iterdir()} == {
        'psnr.json',
        'psnr.csv',
        'fits.png',
        'points_short.gif',
    }
    done = run_tool(tool, '--signals', 'sine', check=False)
    assert done.returncode == 1 and 'Traceback' not in done.stderr

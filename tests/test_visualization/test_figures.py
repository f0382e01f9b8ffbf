import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from smpconv_mm.datasets import Digits
from smpconv_mm.errors import UsageError
from smpconv_mm.layers import (
    CKConv2d,
    CVolution2d,
    FlexConv1d,
    FlexConv2d,
    FlexConv3d,
    Involution2d,
    OrientedConv2d,
    SMPConv1d,
    SMPConv2d,
    SMPConv3d,
    switch_to_deploy,
)
from smpconv_mm.models import OrientedConvNeXt
from smpconv_mm.visualization import (
    draw_confusion,
    draw_curves,
    draw_input_kernels,
    draw_kernel_sizes,
    draw_kernels,
    draw_samples,
    draw_size_growth,
    draw_trajectories,
    read_scalars,
    save_figure,
)


def pixels(figure, path):
    save_figure(figure, path)
    return np.asarray(Image.open(path).convert('RGB'))


def panels(figure):
    """Its axes without the colour bars."""
    return [axis for axis in figure.axes if axis.get_label() != '<colorbar>']


def test_kernels_of_all_dimensions(tmp_path):
    net = nn.Sequential(
        SMPConv1d(3, 4, 20, causal=True),
        SMPConv2d(4, 4, 9, groups=4),
        SMPConv2d(4, 6, (5, 7)),
        SMPConv3d(2, 2, 5),
    )
    figure = draw_kernels(net, channels=3)
    bars = [axis for axis in figure.axes if axis.get_label() == '<colorbar>']
    assert len(panels(figure)) == 4 * 4
    # points of the 2-D kernels, and the taps of all images
    named = [axis.get_ylabel() for axis in bars]
    assert named.count('mean weight of a point') == 2
    assert named.count('weight of a tap') == 3
    line = figure.axes[1]
    assert (line.get_xlabel(), line.get_ylabel()) == ('tap', 'weight of a tap')
    assert pixels(figure, tmp_path / 'kernels.png').std() > 5
    few = draw_kernels(net, max_layers=2, channels=3)
    assert len(panels(few)) == 2 * 4
    with pytest.raises(ValueError, match='no kernels of points'):
        draw_kernels(switch_to_deploy(net))


def test_kernel_picture_has_the_kernels_orientation():
    conv = SMPConv2d(1, 1, 9, n_points=1, radius=0.2)
    with torch.no_grad():
        conv.kernel.coord[:] = torch.tensor([0.5, -0.75])  # right, down
    figure = draw_kernels(conv, channels=1)
    points, kernel, *_ = figure.axes
    assert points.collections[0].get_paths()[0].vertices[:-1].mean(0) == pytest.approx(
        [0.5, -0.75]
    )
    image = kernel.images[0].get_array()
    assert np.unravel_index(abs(image).argmax(), image.shape) == (7, 6)


def test_masks_and_crops(tmp_path):
    net = nn.Sequential(
        FlexConv1d(3, 4, 20, causal=True),
        FlexConv2d(2, 3, (33, 17)),
        FlexConv3d(1, 2, 9),
        CKConv2d(1, 2, 5),
    )
    figure = draw_kernels(net, channels=2)
    assert len(panels(figure)) == 4 * 3
    mask, kernel = panels(figure)[3:5]
    assert mask.images[0].get_array().shape == (33, 17)
    assert kernel.images[0].get_array().shape == (5, 3)
    frame = mask.patches[0]
    assert frame.get_xy() == (6.5, 13.5)
    assert (frame.get_width(), frame.get_height()) == (3, 5)
    assert pixels(figure, tmp_path / 'kernels.png').std() > 5


def test_learned_sizes(tmp_path):
    net = nn.Sequential(FlexConv2d(2, 3, 33), FlexConv2d(3, 3, (33, 65), mask_init=0.2))
    axis = draw_kernel_sizes(net).axes[0]
    assert [bar.get_height() for bar in axis.patches] == [5, 13, 5, 27]
    with pytest.raises(ValueError, match='no kernels of learned size'):
        draw_kernel_sizes(nn.Sequential(CKConv2d(1, 2, 5)))
    sizes = {'0.kernel': [(5, 5), (7, 5)], '1.kernel': [(13, 27), (13, 25)]}
    figure = draw_size_growth([0, 3], sizes, dict.fromkeys(sizes, (33, 65)))
    lines = [line.get_ydata() for line in figure.axes[0].lines]
    assert [list(map(int, line)) for line in lines[:4]] == [
        [5, 7],
        [5, 5],
        [13, 13],
        [27, 25],
    ]
    assert pixels(figure, tmp_path / 'sizes.png').std() > 5
    with pytest.raises(ValueError, match='names no kernel'):
        draw_size_growth([], {}, {})


def test_lines_of_oriented_kernels(tmp_path):
    """A tap lies where the operation puts it, in the frame and in the kernel."""
    angle = [0.0, np.pi / 2]  # to the right, upwards
    conv = OrientedConv2d(2, 2, 9, groups=2, angle=angle, padding=4)
    with torch.no_grad():
        conv.kernel.weight[:] = 0
        conv.kernel.weight[..., -1] = 1
    lines, *kernels = panels(draw_kernels(conv, channels=2))
    (taps,) = lines.collections
    largest = taps.get_offsets()[taps.get_array() == 1]
    assert sorted(largest.tolist()) == [[0, -4], [4, 0]]  # x, y downwards
    places = [np.argwhere(axis.images[0].get_array() == 1) for axis in kernels]
    assert [p.tolist() for p in places] == [[[4, 8]], [[0, 4]]]
    assert [axis.get_title() for axis in kernels] == ['kernel 0, 0°', 'kernel 1, 90°']


def test_directions_of_a_stage(tmp_path):
    net = OrientedConvNeXt(dict(depths=[2, 1], channels=[16, 24]), '1dpp')
    figure = draw_kernels(net, channels=8, layer='stages.0')
    assert len(panels(figure)) == 4 * 9  # two layers in each of two blocks
    angles = [
        a.get_title().split(', ')[1] for a in figure.axes if ', ' in a.get_title()
    ]
    even = ['0°', '22.5°', '45°', '67.5°', '90°', '112.5°', '135°', '157.5°']
    assert angles == 2 * even + 2 * (even[4:] + even[:4])
    assert pixels(figure, tmp_path / 'stage.png').std() > 5
    # the residual, 1 at the centre, would hide the weights
    middle = panels(figure)[10].images[0].get_array()
    assert abs(middle).max() < 0.9
    with pytest.raises(ValueError, match="'stages.7' has no kernels.*downsample"):
        draw_kernels(net, layer='stages.7')


def test_kernels_that_depend_on_the_image(tmp_path):
    """Each kernel over its place, and the maps of their numbers."""
    torch.manual_seed(0)
    net = nn.Sequential(Involution2d(32, 3), nn.ReLU(), CVolution2d(32, 5, 2))
    x, picture = torch.randn(1, 32, 8, 12), np.random.rand(16, 24, 3)
    figure = draw_input_kernels(net, x, picture, groups=2, places=4)
    panels = [axis for axis in figure.axes if axis.get_title() or axis.images]
    over, energy, *sums = panels[:4]
    kernels = net.eval()[0].make_kernels(x)[0].detach()
    drawn = over.images[1:]
    assert len(drawn) == 4 * 4
    row, column = 5, 4  # the place of the tenth kernel
    assert np.allclose(drawn[9].get_array(), kernels[0, :, :, row, column])
    left, right, bottom, top = drawn[9].get_extent()
    assert (left + right) / 2 == 2 * (column + 0.5)  # a place is two pixels wide
    assert (bottom + top) / 2 == 2 * (row + 0.5)
    assert np.allclose(
        energy.images[0].get_array(), kernels.square().sum((1, 2)).mean(0)
    )
    assert [axis.get_title() for axis in sums] == ['sum, group 0', 'sum, group 1']
    assert np.allclose(sums[1].images[0].get_array(), kernels[1].sum((0, 1)))
    assert panels[4].get_title(loc='left') == '2\nkernels 5x5 for 4x6 places'
    assert pixels(figure, tmp_path / 'kernels.png').std() > 5
    few = draw_input_kernels(net, x, picture, groups=1, layer='2')
    assert len([axis for axis in few.axes if axis.get_title() == 'energy']) == 1
    with pytest.raises(ValueError, match='has no involutions to draw'):
        draw_input_kernels(nn.Conv2d(32, 1, 1), x, picture)


def scalars(folder, records):
    folder = folder / 'vis_data'
    folder.mkdir(parents=True)
    lines = [json.dumps(r) for r in records]
    (folder / 'scalars.json').write_text('\n'.join(lines))


def test_curves_of_a_resumed_run(tmp_path):
    scalars(
        tmp_path / 'run' / '20260101_000000',
        [dict(loss=2.0, lr=0.1, step=10), dict(loss=9.0, lr=0.1, step=20)],
    )
    scalars(
        tmp_path / 'run' / '20260102_000000',
        [dict(loss=1.0, lr=0.1, step=20), {'accuracy/top1': 90.0, 'step': 1}],
    )
    file = tmp_path / 'run' / '20260102_000000' / 'vis_data' / 'scalars.json'
    file.write_text(file.read_text() + '\n{"loss": 0.')  # a killed run
    read = read_scalars(tmp_path / 'run')
    assert read['loss'] == [(10, 2.0), (20, 1.0)]
    figure = draw_curves([tmp_path / 'run'])
    assert [a.get_title() for a in figure.axes] == ['loss', 'lr', 'accuracy/top1']
    assert pixels(figure, tmp_path / 'curves.png').std() > 5
    with pytest.raises(UsageError, match='not logged'):
        draw_curves([tmp_path / 'run'], ['mAP'])
    with pytest.raises(UsageError, match='--work-dir'):
        read_scalars(tmp_path)


@pytest.mark.parametrize('sequence', [False, True])
def test_samples(sequence, tmp_path):
    pipeline = [dict(type='mmpretrain.PackInputs')]
    figure = draw_samples(Digits(sequence=sequence, pipeline=pipeline), number=10)
    assert len([a for a in figure.axes if a.get_title()]) == 10
    assert pixels(figure, tmp_path / 'samples.png').std() > 5


def test_confusion(tmp_path):
    figure = draw_confusion(torch.tensor([[3, 1], [0, 4]]), ['a', 'b'])
    assert pixels(figure, tmp_path / 'confusion.png').std() > 5
    # a single error among thousands is as dark as an error can be
    matrix = torch.diag(torch.tensor([5000, 3000, 0, 0]))
    matrix[0, 1] = 1
    axis, *_ = draw_confusion(matrix, list('abcd')).axes
    errors, right = axis.images
    assert errors.get_array()[0, 1] == errors.get_clim()[1] == 1
    assert errors.get_array().mask.sum() == 3 and right.get_clim()[1] == 1
    # classes that do not occur are left out
    assert [label.get_text() for label in axis.get_xticklabels()] == ['a', 'b']


def test_names_of_pictures(tmp_path):
    """What is written has the name that is returned, and nothing else is left."""
    figure = draw_confusion(torch.eye(2).int(), ['a', 'b'])
    for name, written in [('a', 'a.png'), ('b.PNG', 'b.PNG'), ('c/.d', 'c/.d.png')]:
        path = save_figure(figure, tmp_path / name)
        assert path == tmp_path / written
        assert Image.open(path).size[0] > 100
        path.unlink()
    assert [path.name for path in tmp_path.rglob('*')] == ['c']
    for name, message in [('a.xyz', 'written as .xyz; .* .pdf, '), ('c', 'a folder')]:
        with pytest.raises(UsageError, match=message):
            save_figure(figure, tmp_path / name)
    assert [path.name for path in tmp_path.rglob('*')] == ['c']


def test_trajectories(tmp_path):
    net = nn.Sequential(
        SMPConv1d(3, 4, 20, causal=True, n_points=5),
        SMPConv2d(4, 4, 9, groups=4, n_points=5),
        SMPConv3d(2, 2, 5, n_points=5),
    )
    history = {}
    for name in ('0.kernel', '1.kernel', '2.kernel'):
        kernel = net.get_submodule(name)
        steps = torch.arange(4.0).view(4, 1, 1, 1) / 4
        coord, radius = kernel.coord.detach(), kernel.radius.detach()
        history[name] = dict(
            coord=coord + steps, radius=radius * (1 + steps.squeeze(-1))
        )
    figure = draw_trajectories(net, [0, 1, 2, 5], history)
    assert pixels(figure, tmp_path / 'paths.png').std() > 5
    titles = [axis.get_title(loc='left') for axis in figure.axes]
    assert [t.split('\n')[0] for t in titles if t] == ['0', '1', '2']
    (paths,) = figure.axes[2].collections
    assert len(paths.get_segments()) == 3 * 5
    first = history['1.kernel']['coord'][:2, 0, 0]
    assert paths.get_segments()[0] == pytest.approx(first.numpy())
    # one record, as at the start of a training
    start = {k: {n: t[:1] for n, t in v.items()} for k, v in history.items()}
    assert pixels(draw_trajectories(net, [0], start), tmp_path / 'start.png').std() > 5
    few = draw_trajectories(net, [0], start, max_layers=1)
    assert len([axis for axis in few.axes if axis.get_title() == 'radius']) == 1
    with pytest.raises(ValueError, match='nothing to draw'):
        draw_trajectories(net, [], {})

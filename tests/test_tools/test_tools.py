"""The smaller tools as users call them."""

import ast
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from running import run_as_script
from sklearn.datasets import load_digits

from smpconv_mm.checkpoint import save
from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_model

ROOT = Path(__file__).parents[2]
IN1K = ROOT / 'configs/smpconv'
TOOLS = [
    path
    for path in sorted((ROOT / 'tools').rglob('*.py'))
    if '__main__' in path.read_text()
]


@pytest.fixture(scope='module')
def checkpoint(tiny_config, tmp_path_factory):
    model = build_model(load_config(str(tiny_config)))
    path = tmp_path_factory.mktemp('checkpoint') / 'tiny.pth'
    meta = dict(dataset_meta=dict(classes=tuple('abcdefghij')))
    save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    for i, image in enumerate(load_digits().images[:3]):
        big = cv2.resize((image * 15.9).astype(np.uint8), (28, 28))
        cv2.imwrite(str(folder / f'{i}.png'), big)
    return sorted(folder.iterdir())


def accuracy(said):
    return re.search(r'accuracy/top1: ([\d.]+)', said)[1]


@pytest.mark.parametrize('path', TOOLS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_tool_says_how_it_is_used(path):
    done = run_as_script(path, '-h')
    assert done.returncode == 0, done.stderr
    assert f'usage: {path.name}' in done.stdout and '--' in done.stdout


def at_once(path):
    """Packages that a tool imports before it has read its arguments."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name.split('.')[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split('.')[0]


def test_help_needs_no_imports():
    """Torch alone takes two seconds; some share a parser, which needs it."""
    slow = [
        path.name
        for path in TOOLS
        if not set(at_once(path)) <= {*sys.stdlib_module_names}
    ]
    assert {
        name for name in slow if not re.match('bench|gpu|tune|make|.*_to_mm', name)
    } == set()


@pytest.mark.parametrize(
    'config, parameters, flops, making',
    [
        ('smpnet-tiny_4xb256_in1k.py', '26,705,248', '5,707,397,376', '530,590,464'),
        ('smpnet-base_4xb128_in1k.py', '79,546,520', '16,610,233,344', '1,522,627,584'),
    ],
)
def test_get_flops_prints_the_published_figures(
    run_tool, config, parameters, flops, making
):
    out = run_tool('analysis_tools/get_flops.py', IN1K / config).stdout
    assert f'Params: {parameters} ' in out
    assert f'FLOPs: {flops} ' in out
    assert making in out


def test_pictures(run_tool, tiny_config, checkpoint, tmp_path):
    config = IN1K / 'smpnet-micro_1xb64_digits.py'
    run_tool('visualization/vis_kernels.py', config, '--out', tmp_path / 'a.png')
    run_tool(
        'visualization/vis_kernels.py',
        tiny_config,
        checkpoint,
        '--out',
        tmp_path / 'b.png',
        '--channels',
        2,
    )
    detector = ROOT / 'configs/detection/mask-rcnn_smpnet-tiny_fpn_8xb2-amp-1x_coco.py'
    few = ('--layers', 1, '--channels', 1, '--out', tmp_path / 'e.png')
    run_tool('visualization/vis_kernels.py', detector, *few)
    done = run_tool('visualization/browse_dataset.py', config, '--out', tmp_path / 'c')
    assert f'samples drawn in {tmp_path / "c.png"}' in done.stdout
    out = run_tool(
        'analysis_tools/confusion_matrix.py',
        tiny_config,
        checkpoint,
        '--out',
        tmp_path / 'd.png',
    ).stdout
    assert 'of 360 images right' in out
    for name in 'abcde':
        assert cv2.imread(str(tmp_path / f'{name}.png')).std() > 5


def test_kernels_of_an_image(run_tool, images, tmp_path):
    """Of a file, and of the first digit."""
    config = ROOT / 'configs/involution/rednet-micro_1xb64_digits.py'
    options = ('--size', 32, '--layers', 2, '--out', tmp_path / 'a.png')
    tool = 'visualization/vis_kernels.py'
    for image, words in (
        (('--image', images[0]), f'image {images[0]}'),
        ((), '1 images of smpconv_mm.Digits'),
    ):
        assert words in run_tool(tool, config, *image, *options).stdout
        assert cv2.imread(str(tmp_path / 'a.png')).std() > 5
    args = ('--image', tmp_path / 'none.png', *options)
    done = run_tool(tool, config, *args, check=False)
    assert done.returncode and 'does not exist' in done.stderr


def test_receptive_fields(run_tool, tiny_config, checkpoint, tmp_path):
    """Of a trained model, of its initial weights, and of a detector's backbone."""
    detector = ROOT / 'configs/detection/retinanet_smpnet-tiny_fpn_8xb2-1x_coco.py'
    tool = 'visualization/vis_erf.py'
    options = ('--size', 32, '--num-images', 2, '--out', tmp_path / 'a.png')
    out = run_tool(tool, tiny_config, checkpoint, tiny_config, *options).stdout
    assert '2 images of smpconv_mm.Digits' in out
    assert out.count(' (') >= 8  # two models, four squares
    assert cv2.imread(str(tmp_path / 'a.png')).std() > 5
    init = ('--cfg-options', 'model.backbone.init_cfg=None')
    out = run_tool(tool, detector, *options, *init, cwd=tmp_path).stdout
    assert 'images of noise' in out


def test_activation_maps(run_tool, tiny_config, checkpoint, images, tmp_path):
    tool = 'visualization/vis_cam.py'
    options = ('--method', 'layercam', '--layer', 'stages.0', '--category', 3)
    where = ('--out', tmp_path / 'a.png')
    run_tool(tool, tiny_config, checkpoint, *images[:2], *options, *where)
    assert cv2.imread(str(tmp_path / 'a.png')).std() > 5


def test_reparameterize_and_publish(run_tool, tiny_config, checkpoint, tmp_path):
    tool = 'model_converters/reparameterize_model.py'
    out = run_tool(tool, tiny_config, checkpoint, tmp_path / 'deploy.pth').stdout
    assert 'model.backbone.deploy=True' in out
    deploy = ('--cfg-options', 'model.backbone.deploy=True')
    where = (tiny_config, tmp_path / 'deploy.pth', '--work-dir', tmp_path)
    told = run_tool('test.py', *where, *deploy).stdout
    # the checkpoint says its form; the config need not
    assert accuracy(run_tool('test.py', *where).stdout) == accuracy(told)
    done = run_tool(
        'train.py',
        tiny_config,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        f'load_from={tmp_path / "deploy.pth"}',
        check=False,
    )
    assert 'deploy.pth is in deploy form, which can be tested but' in done.stderr
    done = run_tool(
        'visualization/vis_kernels.py', tiny_config, *deploy, check=False, cwd=tmp_path
    )
    assert 'a deploy form has none' in done.stderr
    out = run_tool(
        'model_converters/publish_model.py', checkpoint, tmp_path / 'net.pth'
    ).stdout
    assert list(tmp_path.glob('net-????????.pth')) and 'net-' in out

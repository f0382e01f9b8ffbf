"""The smaller tools as users call them."""

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


@pytest.mark.parametrize('path', TOOLS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_tool_says_how_it_is_used(path):
    done = run_as_script(path, '-h')
    assert done.returncode == 0, done.stderr
    assert f'usage: {path.name}' in done.stdout and '--' in done.stdout


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
    run_tool('visualization/browse_dataset.py', config, '--out', tmp_path / 'c.png')
    out = run_tool(
        'analysis_tools/confusion_matrix.py',
        tiny_config,
        checkpoint,
        '--out',
        tmp_path / 'd.png',
    ).stdout
    assert 'of 360 right' in out
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
    where = ('--work-dir', tmp_path)
    run_tool('test.py', tiny_config, tmp_path / 'deploy.pth', *where, *deploy)
    done = run_tool(
        'visualization/vis_kernels.py', tiny_config, *deploy, check=False, cwd=tmp_path
    )
    assert 'a deploy form has none' in done.stderr
    out = run_tool(
        'model_converters/publish_model.py', checkpoint, tmp_path / 'net.pth'
    ).stdout
    assert list(tmp_path.glob('net-????????.pth')) and 'net-' in out


def test_predict(run_tool, tiny_config, checkpoint, images, tmp_path):
    out = run_tool('predict.py', tiny_config, checkpoint, *images).stdout
    assert out.count('probability') == 3
    assert sum(line.count('│') // 2 for line in out.splitlines()) >= 15
    assert any(c in out for c in 'abcdefghij')
    bad = tmp_path / 'bad.png'
    bad.write_bytes(b'no image')
    for image, message in [
        (bad, 'is not an image or is damaged; mend or remove it'),
        (tmp_path / 'no.png', 'does not exist'),
    ]:
        done = run_tool('predict.py', tiny_config, checkpoint, image, check=False)
        assert done.returncode == 1
        assert str(image) in done.stderr and message in done.stderr
        assert 'Traceback' not in done.stderr
    other = IN1K / 'smpnet-micro_1xb64_digits.py'
    done = run_tool('predict.py', other, checkpoint, images[0], check=False)
    assert 'does not fit the model' in done.stderr


def test_inferencer_of_mmpretrain(tiny_config, checkpoint, images):
    from mmpretrain import ImageClassificationInferencer

    from smpconv_mm.apis.inference import predict

    inferencer = ImageClassificationInferencer(
        str(tiny_config), pretrained=str(checkpoint), device='cpu'
    )
    results = inferencer([str(p) for p in images])
    ours = predict(str(tiny_config), str(checkpoint), [str(p) for p in images])
    for result, own in zip(results, ours):
        assert result['pred_class'] == own[0][0]
        assert result['pred_score'] == pytest.approx(own[0][1])
        assert len(own) == 5

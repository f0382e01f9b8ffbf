from pathlib import Path

import pytest
import torch

from smpconv_mm.apis.inputs import images_for, input_size, normalised
from smpconv_mm.engine.config import load_config
from smpconv_mm.errors import UsageError

ROOT = Path(__file__).parents[2]


def test_images_are_squashed_and_normalised():
    image = torch.zeros(4, 6, 3, dtype=torch.uint8)
    image[..., 0] = 200  # blue
    x = normalised(image.numpy(), 8, dict(mean=[100.0] * 3, std=[50.0] * 3, to_rgb=1))
    assert x.shape == (1, 3, 8, 8)
    assert x.mean((0, 2, 3)).tolist() == pytest.approx([-2, -2, 2])


def test_which_images(tiny_config):
    cfg = load_config(str(tiny_config))
    images, words = images_for(cfg, 5, 16)
    assert words == '5 images of smpconv_mm.Digits'
    assert [image.shape for image in images] == [(1, 3, 16, 16)] * 5
    cfg.test_dataloader.dataset.data_root = 'no/such/folder'
    images, words = images_for(cfg, 2, 16)
    assert "noise, since data folder 'no/such/folder'" in words
    assert abs(torch.cat(list(images)).std() - 1) < 0.1
    cfg.test_dataloader.dataset = dict(
        type='smpconv_mm.Digits', sequence=True, split='test'
    )
    with pytest.raises(UsageError, match='has no images'):
        images_for(cfg, 2, 16)


@pytest.mark.parametrize(
    'config, ndim, size, source',
    [
        ('smpconv/smpnet-tiny_4xb256_in1k.py', 2, (224, 224), 'the test pipeline'),
        ('smpconv/smpnet-micro_1xb64_digits.py', 2, (32, 32), 'the test pipeline'),
        ('smpconv/smp-tcn_1xb64_digits.py', 1, (64,), 'the first sample'),
        (
            'segmentation/smpnet-tiny_upernet_4xb4-amp-160k_ade20k-512x512.py',
            2,
            (512, 512),
            'data_preprocessor.size',
        ),
        (
            'detection/retinanet_smpnet-tiny_fpn_8xb2-1x_coco.py',
            2,
            (800, 1333),
            'Resize of the test pipeline',
        ),
    ],
)
def test_size_of_a_config(config, ndim, size, source):
    found, where = input_size(load_config(str(ROOT / 'configs' / config)), ndim)
    assert found == size and where.startswith(source)


def test_size_that_nothing_says():
    cfg = load_config(str(ROOT / 'configs/smpconv/smp-tcn_1xb64_smnist.py'))
    cfg.test_dataloader.dataset.data_root = 'no/such/folder'
    with pytest.raises(UsageError, match='no/such/folder.*give --shape'):
        input_size(cfg, 1)

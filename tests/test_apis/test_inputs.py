import pytest
import torch

from smpconv_mm.apis.inputs import images_for, normalised
from smpconv_mm.engine.config import load_config
from smpconv_mm.errors import UsageError


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

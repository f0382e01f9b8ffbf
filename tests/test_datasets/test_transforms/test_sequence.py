import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS as ROOT

from smpconv_mm.datasets.transforms import (
    ImageToSequence,
    RowsToSequence,
    pixel_permutation,
)


def test_permutation_is_that_of_the_published_task():
    order = pixel_permutation(784, seed=0)
    assert order[:8].tolist() == [693, 85, 647, 392, 765, 14, 299, 711]
    assert sorted(order) == list(range(784))
    assert (order == pixel_permutation(784, 0)).all()
    assert (order != pixel_permutation(784, 1)).any()


@pytest.mark.parametrize('shape', [(5, 7), (5, 7, 1), (5, 7, 3)])
def test_rows_one_after_another(shape):
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    out = ImageToSequence()(dict(img=image))['img']
    assert out.dtype == torch.float32 and out.is_contiguous()
    channels = image.reshape(35, -1).T
    assert out.tolist() == channels.tolist()
    # the same from the tensor that torchvision makes of the image
    tensor = torch.from_numpy(channels.reshape(-1, 5, 7).copy())
    assert ImageToSequence()(dict(img=tensor))['img'].equal(out)
    order = pixel_permutation(35, 3)
    permuted = ImageToSequence()(dict(img=image, permutation=order))['img']
    assert permuted.tolist() == channels[:, order].tolist()


def test_rows_then_noise():
    image = torch.rand(3, 32, 32)
    transform = RowsToSequence(length=1000, noise_seed=0)
    out = transform(dict(img=image))['img']
    assert out.shape == (96, 1000) and out.dtype == torch.float32
    for row in (0, 13, 31):
        expected = torch.cat([image[c, row] for c in range(3)])
        assert out[:, row].equal(expected)
    noise = out[:, 32:]
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    # one noise for all samples and all runs
    other = RowsToSequence(length=1000, noise_seed=0)(dict(img=image + 1))['img']
    assert other[:, 32:].equal(noise)
    third = RowsToSequence(length=1000, noise_seed=1)(dict(img=image))['img']
    assert not third[:, 32:].equal(noise)


def test_rows_do_not_fit():
    with pytest.raises(ValueError, match='32 rows does not fit .* length 31'):
        RowsToSequence(length=31)(dict(img=torch.rand(3, 32, 32)))


def test_registered():
    transform = ROOT.build(dict(type='smpconv_mm.RowsToSequence', length=40))
    assert 'length=40' in repr(transform)

import numpy as np
import pytest
import real_formats

from smpconv_mm.datasets import STL10


def test_images_and_labels(tmp_path):
    written = real_formats.write_stl10(tmp_path, 12, 5)
    for split, (images, labels) in written.items():
        dataset = STL10(str(tmp_path), split, verify=False)
        samples = [dataset.get_data_info(i) for i in range(len(dataset))]
        found = np.stack([s['img'] for s in samples])
        assert (found == images.transpose(0, 2, 3, 1)[..., ::-1]).all()
        assert [s['gt_label'] for s in samples] == labels.tolist()
    assert len(STL10.METAINFO['classes']) == 10


def test_wrong_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='train_X.bin does not exist'):
        STL10(tmp_path)
    real_formats.write_stl10(tmp_path, 12, 5)
    with pytest.raises(ValueError, match='train_X.bin: MD5 sum .* 918c2871b30a'):
        STL10(tmp_path)
    images, labels = tmp_path / 'test_X.bin', tmp_path / 'test_y.bin'
    labels.write_bytes(bytes([1, 2, 0, 4, 5]))
    with pytest.raises(ValueError, match="label 0 in split 'test'"):
        STL10(tmp_path, 'test', verify=False)
    labels.write_bytes(bytes([1, 2, 11, 4, 5]))
    with pytest.raises(ValueError, match='label 10 .* 10 classes'):
        STL10(tmp_path, 'test', verify=False)
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(ValueError, match='5 labels and 138239 bytes'):
        STL10(tmp_path, 'test', verify=False)

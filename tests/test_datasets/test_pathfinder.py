import pytest
import real_formats

from smpconv_mm.datasets import Pathfinder


def test_splits_and_labels(tmp_path):
    """Every image is in one split, with the label of its line."""
    root = tmp_path / 'curv_contour_length_14'
    labels = real_formats.write_pathfinder(root)
    seen = {}
    for split, number in (('train', 96), ('val', 12), ('test', 12)):
        dataset = Pathfinder(str(root), split, verify=False)
        assert len(dataset) == number and dataset.split == split
        again = Pathfinder(str(root), split, verify=False)
        for i in range(number):
            info = dataset.get_data_info(i)
            assert info['img_path'] == again.get_data_info(i)['img_path']
            seen[info['img_path']] = info['gt_label']
    assert seen == {str(root / name): label for name, label in labels.items()}
    assert dataset.metainfo['classes'] == ('no path', 'path')


def test_empty_image_of_the_release(tmp_path):
    root = tmp_path / 'curv_baseline'
    real_formats.write_pathfinder(root, 1, 180)
    parts = [Pathfinder(str(root), s, verify=False) for s in ('train', 'val', 'test')]
    paths = [p.get_data_info(i)['img_path'] for p in parts for i in range(len(p))]
    assert len(paths) == 179 and not any('sample_172.png' in p for p in paths)


def test_wrong_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='metadata does not exist or has no'):
        Pathfinder(str(tmp_path))
    real_formats.write_pathfinder(tmp_path)
    with pytest.raises(ValueError, match='120 images, the published set has 200000'):
        Pathfinder(str(tmp_path))
    with pytest.raises(ValueError, match="got 'all'"):
        Pathfinder(str(tmp_path), 'all')
    file = tmp_path / 'metadata/1.npy'
    lines = file.read_text().splitlines()
    for wrong in ('', 'imgs/1 sample_2.png 2', 'imgs/1 sample_2.png 2 7'):
        file.write_text('\n'.join([*lines[:2], wrong, *lines[3:]]))
        with pytest.raises(ValueError, match=r'1.npy, line 3: expected a folder'):
            Pathfinder(str(tmp_path), verify=False)

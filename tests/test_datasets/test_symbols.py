import pytest
import real_formats
import torch

from smpconv_mm.datasets import IMDB, ListOps


def test_listops(tmp_path):
    root = tmp_path / 'listops-1000'
    written = real_formats.write_listops(root)
    order = [*'0123456789]', '[MIN', '[MAX', '[MED', '[SM']
    for split, samples in written.items():
        dataset = ListOps(str(root), split, verify=False)
        assert len(dataset) == len(samples)
        for i, (text, result) in enumerate(samples):
            info = dataset.get_data_info(i)
            numbers = [order.index(w) + 1 for w in text.split() if w not in ('(', ')')]
            expected = torch.zeros(1, 2048)
            expected[0, 2048 - len(numbers) :] = torch.tensor(numbers)
            assert torch.equal(info['img'], expected)
            assert info['gt_label'] == result
    short = ListOps(str(root), 'val', length=3, verify=False).get_data_info(5)
    assert short['img'][0, 0] == 13  # the first symbols: [MAX and two digits
    assert (short['img'][0, 1:] <= 10).all()


def test_wrong_listops(tmp_path):
    with pytest.raises(FileNotFoundError, match='basic_train.tsv does not exist'):
        ListOps(str(tmp_path))
    real_formats.write_listops(tmp_path / 'root')
    root = str(tmp_path / 'root')
    with pytest.raises(ValueError, match='12 samples .* has 96000'):
        ListOps(root)
    with pytest.raises(ValueError, match="got 'all'"):
        ListOps(root, 'all')
    with pytest.raises(ValueError, match='length must be positive, got 0'):
        ListOps(root, length=0)
    path = tmp_path / 'root/basic_test.tsv'
    for wrong in ('[MAX 1 2 ]', '[MAX 1 2 ]\t12', '[AVG 1 2 ]\t1', '\t3'):
        path.write_text(f'Source\tTarget\n[MAX 1 2 ]\t2\n{wrong}\n')
        with pytest.raises(ValueError, match='basic_test.tsv, line 3: expected an'):
            ListOps(root, 'test', verify=False)


def test_imdb(tmp_path):
    with pytest.raises(FileNotFoundError, match='train/neg does not exist or has no'):
        IMDB(str(tmp_path))
    real_formats.write_imdb(tmp_path)
    with pytest.raises(ValueError, match='16 samples .* has 25000'):
        IMDB(str(tmp_path))
    for split in ('train', 'test'):
        dataset = IMDB(str(tmp_path), split, verify=False)
        paths = [
            p for n in ('neg', 'pos') for p in sorted((tmp_path / split / n).iterdir())
        ]
        assert len(dataset) == len(paths) == 16
        for i, path in enumerate(paths):
            info = dataset.get_data_info(i)
            text = path.read_bytes()[:4096]
            found = info['img'][0]
            assert bytes(found[found > 0].to(torch.uint8).tolist()) == text
            assert not found[: 4096 - len(text)].any()
            assert info['gt_label'] == int(path.parent.name == 'pos')
    assert len(path.read_bytes()) > 4096  # some are cut

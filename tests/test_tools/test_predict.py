"""What is told and drawn of images: by classifiers, detectors and segmenters."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_datasets import make_ade, make_coco, small_detector, small_segmenter

from smpconv_mm.apis.confusion import match
from smpconv_mm.apis.inference import Predictor, find_images, read_image
from smpconv_mm.checkpoint import load, save
from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_model, initialise
from smpconv_mm.errors import UsageError

KINDS = ('classifier', 'detector', 'mask detector', 'segmenter')


@pytest.fixture(scope='module')
def made(tiny_config, tmp_path_factory):
    """Config, checkpoint and folder of images of a kind."""
    root = tmp_path_factory.mktemp('made')
    coco, ade = make_coco(root / 'coco', images=3), make_ade(root / 'ade', images=3)
    retina = 'retinanet_smpnet-tiny_fpn_8xb2-1x_coco.py'
    mask = 'mask-rcnn_smpnet-tiny_fpn_8xb2-amp-1x_coco.py'
    configs = {
        'classifier': tiny_config,
        'detector': small_detector(root / 'detector.py', retina, coco),
        'mask detector': small_detector(root / 'mask.py', mask, coco),
        'segmenter': small_segmenter(root / 'segmenter.py', ade),
    }
    folders = dict.fromkeys(KINDS, coco / 'val2017')
    folders['segmenter'] = ade / 'images/validation'
    known = {}

    def get(kind):
        if kind not in known:
            torch.manual_seed(0)
            model = build_model(load_config(str(configs[kind])))
            initialise(model)
            if kind == 'classifier':  # which starts with scores that are all alike
                for name, weight in model.named_parameters():
                    if name.endswith('weight') and '.kernel.' not in name:
                        torch.nn.init.normal_(weight)
                with torch.no_grad():  # scores neither alike nor 0 and 1
                    image = torch.randn(1, 3, 32, 32)
                    model.head.fc.weight /= model.eval()(image).abs().max()
            path = root / f'{kind}.pth'
            meta = {}
            if kind == 'classifier':
                meta = dict(dataset_meta=dict(classes=tuple('abcdefghij')))
            save(dict(state_dict=model.state_dict(), meta=meta), path)
            known[kind] = configs[kind], path, folders[kind]
        return known[kind]

    return get


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_is_predicted_and_drawn(run_tool, made, kind, tmp_path):
    config, checkpoint, folder = made(kind)
    options = ('--score-thr', 0, '--topk', 3, '--out-dir', tmp_path / 'out')
    done = run_tool('predict.py', config, checkpoint, folder, *options)
    for path in sorted(folder.iterdir()):
        assert str(path) in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith('│')]
    assert 0 < len(rows) <= 9
    names = {
        'classifier': '[a-j]',
        'segmenter': '[a-z ;]+',
    }.get(kind, '(circle|square|triangle)')
    assert all(re.match(rf'│ {names} +│ [01]\.\d{{4}} ', row) for row in rows)
    pictures = list((tmp_path / 'out').rglob('*.png'))
    assert len(pictures) == 3
    for picture in pictures:
        (original,) = folder.glob(f'{picture.stem}.*')
        drawn, before = cv2.imread(str(picture)), cv2.imread(str(original))
        if kind == 'classifier':  # enlarged, for its text
            assert min(drawn.shape[:2]) >= 128
        else:
            assert drawn.shape == before.shape and (drawn != before).any()


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_is_looked_into(run_tool, made, kind, tmp_path):
    config, checkpoint, folder = made(kind)
    out = tmp_path / 'a.png'
    tool = 'visualization/browse_dataset.py'
    run_tool(tool, config, '--phase', 'test', '--number', 2, '--out', out)
    assert cv2.imread(str(out)).std() > 5
    run_tool('visualization/vis_cam.py', config, checkpoint, folder, '--out', out)
    assert cv2.imread(str(out)).std() > 5
    done = run_tool(
        'analysis_tools/confusion_matrix.py', config, checkpoint, '--out', out
    )
    total = {'classifier': '360 images', 'segmenter': f'{3 * 94 * 128} pixels'}
    assert f'of {total.get(kind, "2 objects")} right' in done.stdout
    assert cv2.imread(str(out)).std() > 5


def test_boxes_are_drawn_where_they_are(made):
    """The truth of a detector's sample, as browse_dataset.py shows it."""
    from smpconv_mm.engine.runner import build_dataset, build_visualizer
    from smpconv_mm.visualization import draw_annotated

    cfg = load_config(str(made('detector')[0]))
    sample = build_dataset(cfg, 'test')[0]
    image = np.full((96, 128, 3), 128, np.uint8)
    visualizer = build_visualizer(cfg, ['circle', 'square', 'triangle'])
    drawn = draw_annotated(visualizer, image, sample['data_samples'], truth=True)
    rows, columns = np.nonzero((drawn != 128).any(-1))
    left, top, right, bottom = (
        sample['data_samples'].gt_instances.bboxes.tensor[0].tolist()
    )
    assert abs(columns.min() - left) < 4 and abs(rows.min() - top) < 4
    assert abs(columns.max() - right) < 16 and abs(rows.max() - bottom) < 4


def test_one_bad_image_does_not_lose_the_others(run_tool, made, tmp_path):
    config, checkpoint, folder = made('classifier')
    shutil.copytree(folder, tmp_path / 'images')
    (tmp_path / 'images/bad.png').write_bytes(b'no image')
    (tmp_path / 'images/empty.jpg').write_bytes(b'')
    images = (
        f'{tmp_path}/images/*.png',
        f'{tmp_path}/images/empty.jpg',
        'no.png',
        '*.x',
    )
    done = run_tool('predict.py', config, checkpoint, *images, check=False)
    assert done.returncode == 1 and done.stdout.count('probability') == 3
    said = done.stderr.splitlines()
    assert [line for line in said if 'bad.png' in line and 'mend or remove' in line]
    assert [line for line in said if 'empty.jpg' in line and line.startswith('error')]
    assert "error: image 'no.png' does not exist" in said
    assert "error: pattern '*.x' does not exist" in said
    assert said[-1] == 'error: 4 of the images could not be predicted; see above'
    assert 'Traceback' not in done.stderr and 'error' not in done.stdout


@pytest.mark.parametrize(
    'options, message',
    [
        (('--topk', -1), '--topk must be 1 or more, got -1'),
        (('--device', 'gpu'), '--device gpu: '),
        (('--device', 'meta:x'), '--device meta:x: '),
    ],
)
def test_mistakes_in_options(run_tool, made, options, message):
    args = (*made('classifier')[:2], 'a.png', *options)
    done = run_tool('predict.py', *args, check=False)
    assert done.returncode and message in done.stderr.splitlines()[-1]
    assert 'Traceback' not in done.stderr


def test_mistakes_in_configs_and_checkpoints(run_tool, made, tmp_path):
    config, checkpoint, folder = made('classifier')
    root = Path(__file__).parents[2] / 'configs/smpconv'

    def fails(*args):
        done = run_tool('predict.py', *args, folder, check=False)
        assert done.returncode == 1 and 'Traceback' not in done.stderr
        return done.stderr.splitlines()[-1]

    other = root / 'smpnet-micro_1xb64_digits.py'
    assert 'does not fit the model' in fails(other, checkpoint)
    sequences = root / 'smp-tcn_1xb64_digits.py'
    model = build_model(load_config(str(sequences)))
    save(dict(state_dict=model.state_dict()), tmp_path / 'tcn.pth')
    said = fails(sequences, tmp_path / 'tcn.pth')
    assert 'is of sequences, not of images' in said
    state = torch.load(checkpoint)['state_dict']
    state['head.fc.weight'].fill_(torch.nan)
    save(dict(state_dict=state, meta=None), tmp_path / 'nan.pth')
    assert 'head.fc.weight is not finite' in fails(config, tmp_path / 'nan.pth')


def test_names_of_images(tmp_path):
    for name in ('b/2.png', 'b/c/1.JPG', 'a.txt', '3.jpeg', '[4].png'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_images(str(tmp_path))
    assert found == sorted(found)
    assert {Path(p).name for p in found} == {'2.png', '1.JPG', '3.jpeg', '[4].png'}
    assert len(find_images(f'{tmp_path}/*.png')) == 1
    assert len(find_images(f'{tmp_path}/[4].png')) == 1  # the file, not a pattern
    assert len(find_images(f'{tmp_path}/**/*.png')) == 2
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UsageError, match="empty' has no images"):
        find_images(str(tmp_path / 'empty'))
    (tmp_path / 'a.png').mkdir()
    with pytest.raises(UsageError, match='does not exist'):
        read_image(str(tmp_path / 'a.png'))


def test_as_mmpretrain(made):
    from mmpretrain import ImageClassificationInferencer

    config, checkpoint, folder = made('classifier')
    images = find_images(str(folder))
    theirs = ImageClassificationInferencer(
        str(config), pretrained=str(checkpoint), device='cpu'
    )(images)
    predictor = Predictor(load_config(str(config)), str(checkpoint), 'cpu')
    assert len({result['pred_score'] for result in theirs}) == len(images)
    for path, result in zip(images, theirs):
        found = predictor.read(predictor(read_image(path)))
        assert found[0].name == result['pred_class']
        assert found[0].score == pytest.approx(result['pred_score'])
        assert sum(one.score for one in found) == pytest.approx(1)


@pytest.mark.parametrize('kind', KINDS[1:])
def test_as_the_package_of_the_config(made, kind):
    """Boxes, masks and segments are those of mmdet's and mmseg's own functions."""
    config, checkpoint, folder = made(kind)
    path = find_images(str(folder))[0]
    predictor = Predictor(load_config(str(config)), str(checkpoint), 'cpu')
    ours = predictor(read_image(path))
    if kind == 'segmenter':
        from mmseg.apis import inference_model, init_model

        cfg = load_config(str(config))
        cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline  # what mmseg reads
        theirs = inference_model(init_model(cfg, str(checkpoint), 'cpu'), path)
        assert torch.equal(ours.pred_sem_seg.data, theirs.pred_sem_seg.data)
        return
    from mmdet.apis import inference_detector, init_detector

    model = init_detector(str(config), str(checkpoint), device='cpu', palette='random')
    theirs = inference_detector(model, path)
    for key in theirs.pred_instances.keys():
        assert torch.equal(ours.pred_instances[key], theirs.pred_instances[key]), key


def test_boxes_and_objects_are_paired():
    overlaps = torch.tensor([[0.9, 0.0, 0.0], [0.8, 0.6, 0.0], [0.1, 0.2, 0.7]])
    true, predicted = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1])
    none, last = torch.zeros(3).bool(), torch.tensor([False, False, True])
    pairs = torch.stack(match(overlaps, true, predicted, none, 2)).T.tolist()
    assert pairs == [[0, 0], [1, 0], [1, 1]]
    # a box on a crowd counts for nothing, nor does the crowd
    pairs = torch.stack(match(overlaps, true, predicted, last, 2)).T.tolist()
    assert pairs == [[0, 0], [1, 0]]
    pairs = torch.stack(match(overlaps / 2, true, predicted, none, 2)).T.tolist()
    assert sorted(pairs) == [[0, 2], [1, 2], [1, 2], [2, 0], [2, 0], [2, 1]]
    assert match(overlaps[:0], true[:0], predicted[:0], none[:0], 2)[0].shape == (0,)
    pairs = match(torch.zeros(1, 0), true[:0], predicted[:1], none[:0], 2)
    assert torch.stack(pairs).tolist() == [[2], [0]]


@pytest.mark.parametrize('known', [True, False])
def test_names_of_classes_without_those_in_the_checkpoint(
    run_tool, made, tmp_path, known
):
    """They are the config's, else numbers; never those of another data set."""
    config, checkpoint, folder = made('classifier')
    weights = tmp_path / 'weights.pth'
    save(load(checkpoint)['state_dict'], weights)
    own = tmp_path / 'own.py'
    names = tuple('klmnopqrst')
    classes = f', metainfo=dict(classes={names})' if known else ''
    own.write_text(
        f'_base_ = {str(config)!r}\n'
        "dataset = dict(_delete_=True, type='CustomDataset', data_root='nowhere',\n"
        f'    pipeline={{{{_base_.test_pipeline}}}}{classes})\n'
        'test_dataloader = dict(dataset=dataset)\n'
    )
    done = run_tool('predict.py', own, weights, folder, '--topk', 3)
    rows = [line for line in done.stdout.splitlines() if line.startswith('│')]
    expected = '[k-t]' if known else '[0-9]'
    assert len(rows) == 9 and all(re.match(f'│ {expected} ', row) for row in rows)

"""SMPNet and the SMP layer in mmdet's and mmseg's models."""

import copy
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, init_default_scope
from mmengine.registry import MODELS as ROOT
from mmengine.structures import InstanceData, PixelData
from tiny_datasets import make_ade, make_coco, small_detector, small_segmenter
from tolerances import assert_close

from smpconv_mm.layers import SMPConv2d, SMPKernel
from smpconv_mm.models import SMPNet

ARCH = dict(channels=[8, 16, 24], depths=[1, 1, 1], kernel_sizes=[31, 9, 7])
MAPS = dict(arch=ARCH, out_indices=(0, 1, 2), drop_path_rate=0.0)
MASK_RCNN = 'mask-rcnn_smpnet-tiny_fpn_8xb2-amp-1x_coco.py'


@pytest.fixture(scope='module')
def detection(tmp_path_factory):
    root = tmp_path_factory.mktemp('coco')
    return small_detector(root / 'small.py', MASK_RCNN, make_coco(root / 'data'))


@pytest.fixture(scope='module')
def segmentation(tmp_path_factory):
    root = tmp_path_factory.mktemp('ade')
    return small_segmenter(root / 'small.py', make_ade(root / 'data'))


def load(path):
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    return cfg


def build(cfg):
    """The model by the root registry in the config's scope, for one process."""
    return revert_sync_batchnorm(ROOT.build(copy.deepcopy(cfg.model))).train()


def batch(cfg, *indices):
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    return pseudo_collate([dataset[i] for i in indices])


def losses_of(model, data):
    data = model.data_preprocessor(data, training=True)
    loss, parts = model.parse_losses(model.loss(data['inputs'], data['data_samples']))
    assert all(torch.isfinite(v).all() for v in parts.values()), parts
    return loss


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_found_by_its_name_alone(scope):
    init_default_scope(scope)
    net = ROOT.build(dict(type='smpconv_mm.SMPNet', arch=ARCH))
    assert type(net) is SMPNet


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_starts_from_a_classifier(task, request, tmp_path):
    """All but the norms of maps that a classifier does not return."""
    cfg = load(request.getfixturevalue(task))
    torch.manual_seed(1)
    plain = dict(cfg.model.backbone, out_indices=(3,), init_cfg=None)
    classifier = revert_sync_batchnorm(ROOT.build(plain)).state_dict()
    path = tmp_path / 'classifier.pth'
    state_dict = {f'backbone.{k}': v for k, v in classifier.items()}
    torch.save(dict(state_dict={**state_dict, 'head.fc.bias': torch.ones(3)}), path)
    cfg.model.backbone.init_cfg = dict(
        type='Pretrained', checkpoint=str(path), prefix='backbone.'
    )
    model = build(cfg)
    before = copy.deepcopy(model.backbone.state_dict())
    model.init_weights()
    after = model.backbone.state_dict()
    assert all(torch.equal(after[k], v) for k, v in classifier.items())
    new = set(after) - set(classifier)
    assert new and all(k.startswith(('norm0', 'norm1', 'norm2')) for k in new)
    assert any(not torch.equal(before[k], v) for k, v in classifier.items())


@pytest.mark.parametrize('size', [(5, 3), (30, 30), (37, 53)])
@pytest.mark.parametrize('with_cp', [False, True])
def test_frozen_and_recomputed_at_any_size(size, with_cp):
    """Smaller than the kernel, no stride divides it, stem and a stage frozen."""
    net = SMPNet(**MAPS, frozen_stages=1, norm_eval=True)
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size)
    reference = [o.detach() for o in net.train()(x)]
    for stage in (*net.stages, net):
        stage.with_cp = with_cp
    outs = net(x)
    for i, (out, expected) in enumerate(zip(outs, reference)):
        assert out.shape[2:] == tuple(-(-s // 2 ** (i + 2)) for s in size)
        assert_close(out, expected, 1e-6)
    sum(o.square().sum() for o in outs).backward()
    frozen = ('stem.', 'stages.0.')
    for name, parameter in net.named_parameters():
        assert (parameter.grad is None) == name.startswith(frozen), name


def test_sync_bn_without_a_group_is_bn():
    torch.manual_seed(0)
    net = SMPNet(**MAPS, norm_cfg=dict(type='SyncBN'))
    plain = SMPNet(**MAPS)
    plain.load_state_dict(net.state_dict())
    x = torch.randn(2, 3, 40, 40)
    for a, b in zip(revert_sync_batchnorm(net)(x), plain(x)):
        assert torch.equal(a, b)


@pytest.mark.parametrize('size', [(17, 9), (45, 71)])
def test_detector_takes_any_size(detection, size):
    model = build(load(detection)).eval()
    with torch.no_grad():
        maps = model.extract_feat(torch.randn(1, 3, *size))
    for i, x in enumerate(maps[:4]):
        assert x.shape[2:] == tuple(-(-s // 2 ** (i + 2)) for s in size)


def test_a_batch_without_objects(detection):
    cfg = load(detection)
    model = build(cfg)
    data = batch(cfg, 7, 7)  # the image without shapes
    assert all(len(s.gt_instances) == 0 for s in data['data_samples'])
    losses_of(model, data).backward()
    for name, parameter in model.named_parameters():  # what distributed needs
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_boxes_of_zero_area_and_masks_outside_of_the_image(detection, tmp_path):
    cfg = load(detection)
    root = cfg.train_dataloader.dataset.data_root
    content = json.loads(open(f'{root}annotations/instances_train2017.json').read())

    def entry(index, box, polygon):
        return dict(
            id=index,
            image_id=0,
            category_id=1,
            iscrowd=0,
            bbox=box,
            area=box[2] * box[3],
            segmentation=[polygon],
        )

    content['annotations'] = [
        # half outside; wholly outside; no area; a box inside, its mask outside
        entry(1, [110, 80, 40, 40], [110, 80, 150, 80, 150, 120, 110, 120]),
        entry(2, [300, 10, 20, 20], [300, 10, 320, 10, 320, 30, 300, 30]),
        entry(3, [20, 20, 0, 0], [20, 20, 20, 20, 20, 20]),
        entry(4, [20, 20, 30, 30], [200, 200, 230, 200, 230, 230, 200, 230]),
    ]
    path = tmp_path / 'annotations.json'
    path.write_text(json.dumps(content))
    cfg.train_dataloader.dataset.ann_file = str(path)
    cfg.train_dataloader.dataset.pipeline[3].prob = 0.0
    data = batch(cfg, 0, 0)
    instances = data['data_samples'][0].gt_instances
    assert len(instances) == 2  # those with no area inside are left out
    masks = instances.masks.to_ndarray()
    assert masks.shape[1:] == (96, 128)
    expected = np.zeros((96, 128), bool)
    expected[80:, 110:] = True
    assert (masks[0].astype(bool) == expected).mean() > 0.99
    assert masks[1].sum() == 0
    losses_of(build(cfg), data).backward()


def config_of(base):
    return Config.fromstring(f'_base_ = {base!r}', '.py')


class TestDropIn:
    """conv_cfg alone puts SMP convolutions into a network of others."""

    conv_cfg = dict(type='smpconv_mm.SMPConv2d', n_points=4)

    def train(self, model, data, steps=5):
        """Losses of a few steps on one batch."""
        smp = [m for m in model.modules() if isinstance(m, SMPConv2d)]
        kernels = [m for m in model.modules() if isinstance(m, SMPKernel)]
        # strided and 1x1 convolutions too
        assert {m.stride for m in smp} == {(1, 1), (2, 2)}
        assert (1, 1) in {m.kernel_size for m in smp}
        model.init_weights()
        before = [copy.deepcopy(k.state_dict()) for k in kernels]
        optim = build_optim_wrapper(
            model,
            dict(optimizer=dict(type='AdamW', lr=1e-3), clip_grad=dict(max_norm=1)),
        )
        losses = [float(model.train_step(data, optim)['loss']) for _ in range(steps)]
        assert np.isfinite(losses).all()
        for kernel, state in zip(kernels, before):
            for key in ('coord', 'weight'):
                if kernel.kernel_size != (1, 1) or key == 'weight':
                    assert not torch.equal(kernel.state_dict()[key], state[key])
        return losses

    def test_retinanet(self):
        cfg = Config.fromstring(
            "_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'", '.py'
        )
        init_default_scope('mmdet')
        torch.manual_seed(0)
        cfg.model.backbone.update(
            depth=18, conv_cfg=self.conv_cfg, frozen_stages=-1, norm_eval=False
        )
        cfg.model.backbone.init_cfg = None
        cfg.model.neck.update(in_channels=[64, 128, 256, 512], out_channels=32)
        cfg.model.neck.conv_cfg = self.conv_cfg
        cfg.model.bbox_head.update(
            num_classes=3, in_channels=32, feat_channels=32, stacked_convs=1
        )
        from mmdet.structures import DetDataSample

        sample = DetDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)))
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[8.0, 8.0, 40.0, 40.0]]), labels=torch.tensor([1])
        )
        image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
        data = dict(inputs=[image] * 2, data_samples=[sample] * 2)
        losses = self.train(ROOT.build(cfg.model).train(), data)
        assert losses[-1] < losses[0]

    def test_fcn(self):
        cfg = config_of('mmseg::_base_/models/fcn_r50-d8.py')
        init_default_scope('mmseg')
        torch.manual_seed(0)
        cfg.model.pretrained = None
        cfg.model.backbone.update(type='ResNet', depth=18, conv_cfg=self.conv_cfg)
        small = dict(num_classes=4, channels=16, conv_cfg=self.conv_cfg)
        cfg.model.decode_head.update(in_channels=512, **small)
        cfg.model.auxiliary_head.update(in_channels=256, **small)
        cfg.model.data_preprocessor.size = (64, 64)
        from mmseg.structures import SegDataSample

        sample = SegDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)))
        labels = torch.zeros(1, 64, 64, dtype=torch.long)
        labels[:, 16:48, 16:48] = 2
        sample.gt_sem_seg = PixelData(data=labels)
        image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
        data = dict(inputs=[image] * 2, data_samples=[sample] * 2)
        model = revert_sync_batchnorm(ROOT.build(cfg.model)).train()
        losses = self.train(model, data)
        assert losses[-1] < losses[0]

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.registry import MODEL_WRAPPERS
from mmengine.runner import BaseLoop
from mmengine.runner.priority import get_priority
from torch import nn

from smpconv_mm.engine.hooks import AfterStepHook, CheckpointGuardHook
from smpconv_mm.errors import CheckpointError
from smpconv_mm.layers import Kernel, SMPConv1d, SMPConv2d


def test_radius_clip():
    model = nn.Sequential(
        SMPConv2d(4, 4, 5, groups=4, radius_range=(1e-3, 1.0)), SMPConv1d(2, 2, 9)
    )
    before = [c.kernel.coord.detach().clone() for c in model]
    with torch.no_grad():
        for conv in model:
            conv.kernel.radius[..., 0] = -1
            conv.kernel.radius[..., 1] = 7
    AfterStepHook().after_train_iter(SimpleNamespace(model=model), batch_idx=0)
    assert [float(c.kernel.radius.min()) for c in model] == pytest.approx([1e-3, 1e-4])
    assert [float(c.kernel.radius.max()) for c in model] == [1, 1]
    for conv, coord in zip(model, before):
        assert torch.equal(conv.kernel.coord, coord)


def test_positions_are_clipped_where_the_layer_says_so():
    free, kept = (SMPConv1d(2, 2, 9, clip_coord=clip) for clip in (False, True))
    for conv in (free, kept):
        torch.nn.init.constant_(conv.kernel.coord, -1.5)
    model = nn.Sequential(free, kept)
    AfterStepHook().after_train_iter(SimpleNamespace(model=model), batch_idx=0)
    assert (free.kernel.coord == -1.5).all() and (kept.kernel.coord == -1).all()


def test_every_kernel_is_called_after_a_step():
    class Counting(Kernel):
        steps = 0

        def after_step(self):
            self.steps += 1

    model = nn.Sequential(
        Counting(1, 1, 3), nn.ReLU(), nn.Sequential(Counting(1, 1, 3))
    )
    for _ in range(3):
        AfterStepHook().after_train_iter(SimpleNamespace(model=model), batch_idx=0)
    assert [model[0].steps, model[2][0].steps] == [3, 3]


def test_radii_are_clipped_before_they_are_averaged():
    assert get_priority(AfterStepHook.priority) < get_priority(EMAHook.priority)


class Loop(BaseLoop):
    def __init__(self):
        pass

    def run(self):
        pass


def saved(model, **meta):
    """A checkpoint that can be resumed."""
    return dict(
        state_dict=model.state_dict(),
        meta=dict(epoch=1, iter=1, **meta),
        optimizer=dict(state={}, param_groups=[]),
        message_hub=dict(runtime_info={}),
    )


def runner(model, resume=False, training=False):
    return SimpleNamespace(
        model=model,
        _load_from='x.pth',
        work_dir='w',
        _resume=resume,
        _train_loop=Loop() if training else {},
        hooks=[],
        optim_wrapper=None,
        param_schedulers=None,
        logger=logging.getLogger(__name__),
    )


def test_checkpoint_guard():
    model, other = nn.Linear(2, 3), nn.Linear(2, 4)
    foreign = nn.Sequential(nn.Linear(2, 3))
    hook = CheckpointGuardHook()

    def load(source, **kwargs):
        hook.after_load_checkpoint(runner(model, **kwargs), saved(source))

    for kwargs in (dict(), dict(resume=True, training=True), dict(training=True)):
        load(model, **kwargs)
        with pytest.raises(CheckpointError, match='x.pth'):
            load(foreign, **kwargs)
    with pytest.raises(CheckpointError, match='optimizer, message_hub, meta.epoch'):
        weights = dict(state_dict=model.state_dict())
        hook.after_load_checkpoint(runner(model, resume=True, training=True), weights)
    # another head: fine to start from, not to test or to resume
    load(other, training=True)
    for kwargs in (dict(), dict(resume=True, training=True)):
        with pytest.raises(CheckpointError, match='of another shape'):
            load(other, **kwargs)


@pytest.mark.parametrize('phase', ['train', 'test'])
def test_checkpoint_guard_compares_permutations(phase):
    model = nn.Linear(2, 3)
    order = (2, 0, 1)

    def load(trained, tested, **kwargs):
        checkpoint = saved(model)
        if trained is not None:
            checkpoint['meta']['dataset_meta'] = trained
        this = runner(model, resume=phase == 'train', training=phase == 'train')
        loop = Loop()
        dataset = SimpleNamespace(metainfo=tested)
        loop.dataloader = SimpleNamespace(dataset=dataset)
        setattr(this, f'_{phase}_loop', loop)
        CheckpointGuardHook().after_load_checkpoint(this, checkpoint)

    same = dict(permutation=order), dict(permutation=list(order))
    for trained, tested in [same, ({}, {}), (None, same[0])]:
        load(trained, tested)
    with pytest.raises(CheckpointError, match=r'2, 0, 1.*has samples in their order'):
        load(same[0], {})
    with pytest.raises(CheckpointError, match=r'in their order.*permuted to 2, 0, 1'):
        load({}, same[0])
    with pytest.raises(CheckpointError, match='set permutation_seed'):
        load(same[0], dict(permutation=(0, 2, 1)))


def test_checkpoint_guard_compares_classes(caplog):
    model, hook = nn.Linear(2, 3), CheckpointGuardHook()

    def load(trained, tested):
        this, loop = runner(model), Loop()
        metainfo = dict(classes=tested)
        loop.dataloader = SimpleNamespace(dataset=SimpleNamespace(metainfo=metainfo))
        this._test_loop = loop
        hook.after_load_checkpoint(
            this, saved(model, dataset_meta=dict(classes=trained))
        )

    for trained, tested in [('ab', ['a', 'b']), (None, 'ab'), ('ab', None)]:
        load(trained, tested)
    assert not caplog.text
    load('abc', 'abd')
    assert "class 2 is 'c' there and 'd' here" in caplog.text
    with pytest.raises(CheckpointError, match="class 1 is 'c' there and 'b' here; bri"):
        load('acb', 'abc')


def test_checkpoint_guard_lets_the_number_of_points_change(caplog):
    model, other = (SMPConv1d(2, 2, 9, n_points=n) for n in (4, 3))
    checkpoint = saved(other)
    hook = CheckpointGuardHook()
    with caplog.at_level(logging.INFO):
        for kwargs in (dict(), dict(training=True), dict(resume=True, training=True)):
            hook.after_load_checkpoint(runner(model, **kwargs), checkpoint)
            assert '3 entries of the model take their shape' in caplog.text
            caplog.clear()
        hook.after_load_checkpoint(runner(other), checkpoint)
    assert not caplog.text

    @MODEL_WRAPPERS.register_module(force=True)
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    hook.after_load_checkpoint(runner(Wrapper(model)), checkpoint)  # a test
    with pytest.raises(CheckpointError, match='already distributed cannot follow'):
        hook.after_load_checkpoint(runner(Wrapper(model), training=True), checkpoint)


@pytest.mark.parametrize('part, fits', [('backbone', False), ('head', True)])
def test_checkpoint_guard_lets_heads_be_others(part, fits):
    """An entry of a backbone that does not fit is of another architecture."""
    model, other = (
        nn.ModuleDict(dict(backbone=nn.Linear(2, 3), head=nn.Linear(3, 4)))
        for _ in range(2)
    )
    other[part] = nn.Linear(5, 6)
    this = runner(model, training=True)
    asked = CheckpointGuardHook(ignore_mismatched_sizes=True)
    asked.after_load_checkpoint(this, saved(other))
    hook = CheckpointGuardHook()
    if fits:
        hook.after_load_checkpoint(this, saved(other))
        return
    with pytest.raises(CheckpointError) as info:
        hook.after_load_checkpoint(this, saved(other))
    text = str(info.value)
    assert 'x.pth is of another architecture: 2 of 4 entries' in text
    assert 'backbone.weight (6, 5) instead of (3, 2)' in text
    assert 'default_hooks.checkpoint_guard.ignore_mismatched_sizes=True' in text


def test_checkpoint_guard_compares_optimisers():
    model = nn.Linear(2, 3)
    this = runner(model, resume=True, training=True)

    def build(kind, *groups):
        groups = [dict(params=group) for group in groups]
        return SimpleNamespace(optimizer=kind(groups, lr=0.1))

    apart = ([model.weight], [model.bias])
    sgd = build(torch.optim.SGD, *apart)
    state = sgd.optimizer.state_dict()
    checkpoint = dict(saved(model), optimizer=state, param_schedulers=[{}])
    hook = CheckpointGuardHook()
    for optimizer, schedulers, message in [
        (sgd, 1, None),
        (sgd, 2, 'of 1 schedulers, the config has 2; resume with the config'),
        (
            build(torch.optim.SGD, [*model.parameters()]),
            1,
            '1, 1 .*, the config has .*2',
        ),
        (build(torch.optim.Adam, *apart), 1, 'momentum.*, the config has one with ams'),
    ]:
        this.optim_wrapper = optimizer
        this.param_schedulers = [SimpleNamespace()] * schedulers
        if message is None:
            hook.after_load_checkpoint(this, checkpoint)
            continue
        with pytest.raises(CheckpointError, match=message):
            hook.after_load_checkpoint(this, checkpoint)

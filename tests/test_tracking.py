"""Every config of docs/tracking.md is trained, the dashboards being stubs."""

import re
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import pytest

from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_runner
from smpconv_mm.visualization import read_scalars

PAGE = Path(__file__).parents[1] / 'docs/tracking.md'
TENSORBOARD, WANDB, MLFLOW = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.S)


@pytest.fixture
def train(tiny_config, tmp_path, monkeypatch):
    """Train a block of the page for an epoch, with a network of a few channels."""
    monkeypatch.chdir(tmp_path)

    def run(block):
        base = re.search(r"_base_ = '(.+)'", block)[1]
        assert load_config(base).model.backbone.type == 'smpconv_mm.SMPNet'
        small = block.replace(base, str(tiny_config))
        Path('small.py').write_text(
            f'{small}\ntrain_cfg = dict(max_epochs=1)\n'
            'train_dataloader = dict(dataset=dict(indices=64))\n'
            'default_hooks = dict(logger=dict(interval=1))\n'
        )
        cfg = load_config('small.py')
        cfg.work_dir = 'work'
        cfg.experiment_name = f'tracking-{len(block)}'  # a visualizer of its own
        build_runner(cfg).train()
        scalars = read_scalars('work')  # of the first back end
        assert len(scalars['loss']) == 1 and len(scalars['accuracy/top1']) == 1
        return scalars

    return run


def stub(monkeypatch, name, known):
    """A module that has some functions and no others, and notes their calls."""
    module = ModuleType(name)
    calls = MagicMock()
    for function in known:
        setattr(module, function, getattr(calls, function))
    monkeypatch.setitem(sys.modules, name, module)
    return calls


def all_of(function):
    """The last value of each key in the dicts that a function was called with."""
    dicts = (call.args[0] for call in function.call_args_list)
    return {key: value for one in dicts for key, value in one.items()}


def test_tensorboard(train):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    scalars = train(TENSORBOARD)
    (file,) = Path('work').rglob('events.out.tfevents.*')
    read = EventAccumulator(str(file.parent)).Reload()
    assert {'loss', 'accuracy/top1'} <= set(read.Tags()['scalars'])
    (loss,) = read.Scalars('loss')
    assert loss.value == pytest.approx(scalars['loss'][0][1])


def test_wandb(train, monkeypatch):
    wandb = stub(
        monkeypatch, 'wandb', ['init', 'define_metric', 'log', 'config', 'run', 'join']
    )
    scalars = train(WANDB)
    (started,) = wandb.init.call_args_list
    told = started.kwargs
    assert (told['project'], told['name']) == ('kernels', 'smpnet-micro')
    assert told['mode'] == 'offline' and 'work' in Path(told['dir']).parts
    wandb.define_metric.assert_called_once_with('accuracy/top1', summary='max')
    (config,) = wandb.config.update.call_args.args
    assert config['model']['backbone']['type'] == 'smpconv_mm.SMPNet'
    logged = all_of(wandb.log)
    assert logged['loss'] == pytest.approx(scalars['loss'][0][1])
    assert {'accuracy/top1', 'iter', 'epoch'} <= set(logged)
    wandb.join.assert_called_once()


def test_mlflow(train, monkeypatch):
    known = (
        'set_tracking_uri get_experiment_by_name create_experiment set_experiment '
        'set_tag log_params log_text log_metrics log_artifact end_run'
    )
    mlflow = stub(monkeypatch, 'mlflow', known.split())
    scalars = train(MLFLOW)
    mlflow.set_tracking_uri.assert_called_once_with('sqlite:///mlflow.db')
    mlflow.set_experiment.assert_called_once_with('kernels')
    mlflow.set_tag.assert_called_once_with('mlflow.runName', 'smpnet-micro')
    (parameters,) = mlflow.log_params.call_args.args
    assert parameters['model.backbone.type'] == 'smpconv_mm.SMPNet'
    assert parameters['optim_wrapper.optimizer.type'] == 'AdamW'
    logged = all_of(mlflow.log_metrics)
    assert logged['loss'] == pytest.approx(scalars['loss'][0][1])
    kept = {Path(call.args[0]).suffix for call in mlflow.log_artifact.call_args_list}
    assert {'.log', '.json', '.py'} <= kept
    mlflow.end_run.assert_called_once_with()

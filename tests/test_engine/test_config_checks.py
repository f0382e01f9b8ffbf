"""Options and parts of a config that nothing would read."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.utils import get_installed_path

from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.config_checks import check_parts
from smpconv_mm.errors import UsageError

DIGITS = 'smpconv_mm::smpconv/smpnet-micro_1xb64_digits.py'
MISTAKES = {
    'max_epochs': "'max_epochs' is a variable .* did you mean train_cfg.max_epochs",
    'batch_size': 'did you mean train_dataloader.batch_size',
    'optimizer.lr': 'did you mean optim_wrapper.optimizer.lr',
    'lr': 'did you mean optim_wrapper.optimizer.lr',
    'backbone.drop_path_rate': 'did you mean model.backbone.drop_path_rate',
    'trian_cfg.max_epochs': 'did you mean train_cfg.max_epochs',
    'arch.channels': 'did you mean model.backbone.arch.channels',
    'train_pipeline.0.scale': "'train_pipeline' is a variable of the config",
    'qwertyuiop': "no part of a config is named 'qwertyuiop'$",
    'env_cfg.cudnn_benchmrk': "has no 'cudnn_benchmrk'; did you mean env_cfg.cudnn",
    'default_hooks.checkpoints.interval': 'mean default_hooks.checkpoint.interval',
    'param_scheduler.2.end': "param_scheduler is a list of 2, .* there is no '2'",
    'param_scheduler.end': 'param_scheduler is a list of 2',
    'train_cfg.0': 'train_cfg is not a list',
    'model.backbone.arch.depths.x': 'is a list of 2',
}


@pytest.mark.parametrize('option', MISTAKES)
def test_options_that_would_change_nothing(option):
    with pytest.raises(
        UsageError, match=f'--cfg-options {option}: .*{MISTAKES[option]}'
    ):
        load_config(DIGITS, {option: 1})


@pytest.mark.parametrize(
    'option, value',
    [
        ('train_cfg.max_epochs', 2),
        ('train_cfg', dict(by_epoch=True, max_epochs=2, val_interval=1)),
        ('param_scheduler.1.end', 9),
        ('strategy.type', 'smpconv_mm.FSDPStrategy'),
        ('custom_hooks', []),
        ('load_from', 'x.pth'),
        ('compile.mode', 'default'),
        ('env_cfg.resource_limit', 4096),
        ('model.train_cfg.augments', []),
        ('default_hooks.tracking.type', 'smpconv_mm.PointTrackingHook'),
    ],
)
def test_options_that_are_read(option, value):
    node = load_config(DIGITS, {option: value})
    for key in option.split('.'):
        node = node[int(key) if key.isdigit() else key]
    assert node == value


def write(path, text):
    path.write_text(f'_base_ = {DIGITS!r}\n{text}\n')
    return str(path)


@pytest.mark.parametrize('name, meant', [('optim_wraper', 'optim_wrapper'),
                                         ('custom_hook', 'custom_hooks')])  # fmt: skip
def test_a_part_that_is_misspelt(tmp_path, name, meant):
    path = write(tmp_path / 'own.py', f'{name} = dict(x=1)')
    with pytest.raises(
        UsageError, match=f"nothing reads '{name}'; did you .*'{meant}'"
    ):
        load_config(path)


def test_own_variables_are_left_alone(tmp_path):
    cfg = load_config(write(tmp_path / 'own.py', 'my_rate = 3\nval_pipeline = []'))
    assert cfg.my_rate == 3


@pytest.mark.parametrize('package', ['mmpretrain', 'mmdet', 'mmseg'])
def test_configs_of_others_are_not_refused(package):
    """Names of all variables of their configs, as the files have them."""
    pytest.importorskip(package)
    folder = Path(get_installed_path(package), '.mim', 'configs')
    names = {
        line.split('=')[0].strip()
        for path in folder.rglob('*.py')
        for line in path.read_text().splitlines()
        if '=' in line and line.split('=')[0].strip().isidentifier() and line[0] != ' '
    }
    assert len(names) > 50
    check_parts(Config(dict.fromkeys(names, 0)))


@pytest.mark.parametrize(
    'text, message',
    [
        ('x = (', 'SyntaxError: .* was never closed .*line 2'),
        ('x = nowhere', "NameError: name 'nowhere' is not defined"),
        (
            "model = dict(backbone=dict(act_cfg=dict(type='ReLU'), drop_path_rate={}))",
            'drop_path_rate is a dict here and a plain value in the base; write drop',
        ),
    ],
)
def test_python_that_cannot_be_read(tmp_path, text, message):
    path = write(tmp_path / 'own.py', text)
    with pytest.raises(UsageError, match=f'own.py: {message}'):
        load_config(path)


def test_an_option_of_a_plain_value():
    option = {'model.backbone.drop_path_rate.x': 1}
    with pytest.raises(
        UsageError, match='--cfg-options: drop_path_rate is a dict here'
    ):
        load_config(DIGITS, option)

import errno
import functools
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.fileio import get_file_backend
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

import smpconv_mm  # noqa: F401  makes MMEngine's types loadable
from smpconv_mm import checkpoint as ckpt
from smpconv_mm.errors import CheckpointError, plain_errors

ROOT = Path(__file__).parents[1]


class Payload:
    """Writes a file when it is unpickled without care."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


class Open:
    """Would read an attribute of an allowed type."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


def test_mmengine_checkpoint_loads_with_weights_only(tmp_path):
    buffer = HistoryBuffer([1.0, 2.0], [1, 1])
    torch.save(
        dict(
            message_hub=dict(
                log_scalars=dict(loss=buffer),
                runtime_info=dict(best=np.float64(99.5), n=np.int64(3)),
            ),
            state_dict=dict(weight=torch.ones(2)),
        ),
        tmp_path / 'a.pth',
    )
    for read in (
        ckpt.load,
        lambda p: torch.load(p, weights_only=True),
        lambda p: CheckpointLoader.load_checkpoint(str(p), 'cpu'),
    ):
        hub = read(tmp_path / 'a.pth')['message_hub']
        assert hub['log_scalars']['loss'].mean() == 1.5
        assert hub['runtime_info']['best'] == 99.5


def test_state_of_every_scheduler_loads(tmp_path):
    """One of them pickles a function of its own."""
    from mmengine.optim import OneCycleLR

    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    scheduler = OneCycleLR(optimizer, eta_max=0.1, total_steps=10)
    torch.save(dict(param_schedulers=[scheduler.state_dict()]), tmp_path / 'a.pth')
    (state,) = ckpt.load(tmp_path / 'a.pth')['param_schedulers']
    scheduler.load_state_dict(state)


def test_malicious_checkpoint_is_not_executed(tmp_path):
    trace = tmp_path / 'executed'
    torch.save(dict(state_dict={}, x=Payload(trace)), tmp_path / 'bad.pth')
    with pytest.raises(CheckpointError, match=r'bad.pth was refused.*run code'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'bad.pth'), 'cpu')
    assert not trace.exists()


class Runs:
    """Would run a command."""

    def __reduce__(self):
        return os.system, ('true',)


@pytest.mark.parametrize(
    'payload', [Runs(), Open(), functools.partial(print), range(3)]
)
@pytest.mark.parametrize('zipped', [True, False])
def test_refused_and_cut_files_are_told_apart(payload, zipped, tmp_path):
    """Also where torch's message speaks of neither, or of the other."""
    path = tmp_path / 'a.pth'
    content = dict(state_dict=dict(weight=torch.ones(10)), x=payload)
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match='refused.*could run code'):
        ckpt.load(path)
    content['x'] = [1, 'text']
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for size in range(1, len(whole), len(whole) // 40):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match='truncated'):
            ckpt.load(path)


def test_a_refused_object_is_named(tmp_path):
    torch.save(dict(x=Runs()), tmp_path / 'bad.pth')
    with pytest.raises(CheckpointError, match=r'\((posix|nt).system\)'):
        ckpt.load(tmp_path / 'bad.pth')


def test_getattr_is_not_opened(tmp_path):
    torch.save(dict(x=Open()), tmp_path / 'bad.pth')
    with pytest.raises(CheckpointError, match='refused'):
        ckpt.load(tmp_path / 'bad.pth')


@pytest.mark.parametrize(
    'content, message',
    [
        (b'', '0 bytes.*truncated or not a PyTorch checkpoint'),
        (b'not a checkpoint', 'not a PyTorch checkpoint'),
        (pickle.dumps({'state_dict': 1})[:-3], 'not a PyTorch checkpoint'),
        ('half', 'truncated'),
    ],
    ids=['empty', 'text', 'cut pickle', 'cut checkpoint'],
)
def test_broken_files(content, message, tmp_path):
    path = tmp_path / 'broken.pth'
    if content == 'half':
        torch.save(dict(state_dict=dict(weight=torch.ones(1000))), path)
        content = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as info:
        ckpt.load(path)
    assert 'broken.pth' in str(info.value)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(CheckpointError, match='no.pth does not exist'):
        ckpt.load(tmp_path / 'no.pth')
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(CheckpointError, match='holds a list, expected a dict'):
        ckpt.load(tmp_path / 'list.pth')


def test_safetensors(tmp_path):
    safetensors = pytest.importorskip('safetensors.torch')
    path, model = tmp_path / 'a.safetensors', nn.Linear(2, 3)
    safetensors.save_file(model.state_dict(), path)
    other = nn.Linear(2, 3)
    ckpt.load_into(other, path)
    assert torch.equal(other.weight, model.weight)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match='bytes. cannot be read: '):
        ckpt.load(path)


def test_safetensors_are_written(tmp_path):
    """Weights and meta come back; shared and transposed tensors are written, too."""
    pytest.importorskip('safetensors')
    weight = torch.randn(2, 3)
    state_dict = dict(
        a=weight, b=weight, c=weight.T, d=weight.half(), n=torch.tensor(3)
    )
    meta = dict(
        epoch=2,
        deploy=True,
        dataset_meta=dict(classes=('x', 'y'), palette=np.arange(3), n=np.int64(4)),
    )
    path = tmp_path / 'a.safetensors'
    ckpt.save(dict(state_dict=state_dict, meta=meta, optimizer={}), path)
    read = ckpt.load(path)
    assert set(read) == {'state_dict', 'meta'} and ckpt.in_deploy_form(read)
    assert read['meta']['dataset_meta'] == dict(
        classes=['x', 'y'], palette=[0, 1, 2], n=4
    )
    for key, value in state_dict.items():
        assert torch.equal(read['state_dict'][key], value)
        assert read['state_dict'][key].dtype == value.dtype
    ckpt.save(dict(state_dict=state_dict), path)
    assert ckpt.load(path)['meta'] == {}
    with pytest.raises(CheckpointError, match='set is not a plain value'):
        ckpt.save(dict(state_dict=state_dict, meta=dict(a={1})), path)
    assert [p.name for p in tmp_path.iterdir()] == ['a.safetensors']


def test_safetensors_without_the_package(tmp_path, monkeypatch):
    (tmp_path / 'a.safetensors').write_bytes(b'')
    monkeypatch.setattr(ckpt.files, 'find_spec', lambda name: None)
    with pytest.raises(CheckpointError, match=r'smpconv_mm\[safetensors'):
        ckpt.load(tmp_path / 'a.safetensors')
    with pytest.raises(CheckpointError, match=r'smpconv_mm\[safetensors'):
        ckpt.save(dict(state_dict={}), tmp_path / 'b.safetensors')


@pytest.mark.parametrize(
    'fault, message',
    [
        (dict(optimizer={}), 'optimizer missing, as in best'),
        (dict(optimizer=dict(state={})), 'optimizer.param_groups missing'),
        (dict(message_hub=None), 'message_hub missing'),
        (dict(meta=None), r'\(meta.epoch, meta.iter missing'),
        (dict(meta=dict(epoch=1)), 'meta.iter missing'),
        (dict(meta=dict(epoch=-1, iter=1)), 'meta.epoch is -1, expected how many'),
        (dict(meta=dict(epoch=1, iter='x')), "meta.iter is 'x'"),
    ],
)
def test_a_checkpoint_that_cannot_be_resumed(fault, message, tmp_path):
    whole = dict(
        state_dict=nn.Linear(2, 3).state_dict(),
        meta=dict(epoch=1, iter=2),
        optimizer=dict(state={}, param_groups=[]),
        message_hub=dict(runtime_info={}),
    )
    torch.save(whole, tmp_path / 'a.pth')
    ckpt.check_resumable(ckpt.load(tmp_path / 'a.pth'), 'a.pth')
    torch.save({**whole, **fault}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=message):
        ckpt.check_resumable(ckpt.load(tmp_path / 'a.pth'), 'a.pth')


@pytest.mark.parametrize(
    'content, message',
    [
        (dict(state_dict=[1]), 'its state dict is a list, expected a dict'),
        (dict(state_dict={}, meta=[1]), 'meta is a list, expected a dict'),
        ({3: torch.ones(1)}, 'an entry named 3, a int; names of entries are strings'),
        (dict(state_dict={1.5: torch.ones(1)}), 'an entry named 1.5'),
        (dict(state_dict=dict(w=torch.eye(2).to_sparse())), 'w is a sparse tensor'),
        (
            dict(meta=dict(dataset_meta=['cat'])),
            'meta.dataset_meta is a list, expected a dict',
        ),
    ],
    ids=['list', 'meta', 'number', 'float', 'sparse', 'classes'],
)
def test_what_is_not_a_checkpoint(content, message, tmp_path):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=rf'a.pth.*{message}'):
        ckpt.load(tmp_path / 'a.pth')


def test_check_fits():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    ckpt.check_fits(model, model.state_dict(), 'x.pth')
    other = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 5), nn.Linear(5, 1))
    with pytest.raises(CheckpointError) as info:
        ckpt.check_fits(model, other.state_dict(), 'x.pth')
    text = str(info.value)
    assert 'x.pth does not fit the model, which has 4 entries' in text
    assert '2 unknown entries (2.weight, 2.bias)' in text
    assert '1.weight (5, 3) instead of (4, 3)' in text
    assert 'tools/model_converters' in text


@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_weights_that_are_not_finite(value, tmp_path):
    model = nn.Linear(2, 3)
    state_dict = {key: entry.clone() for key, entry in model.state_dict().items()}
    state_dict['bias'][1] = value
    torch.save(state_dict, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='a.pth: bias is not finite'):
        ckpt.load_into(model, tmp_path / 'a.pth')
    assert not ckpt.not_finite(dict(mask=torch.tensor([0, -torch.inf])))


@pytest.mark.parametrize('dtype', [torch.int64, torch.complex64])
def test_weights_of_another_type(dtype):
    """torch would cut them off without a word."""
    model = nn.Linear(2, 3)
    state_dict = {key: value.to(dtype) for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match='2 of another type .weight torch'):
        ckpt.check_fits(model, state_dict, 'x.pth')
    ckpt.check_fits(model, model.half().state_dict(), 'x.pth')


def test_load_into_strips_data_parallel(tmp_path):
    model = nn.Linear(2, 3)
    state = {f'module.{k}': v + 1 for k, v in model.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'a.pth')
    ckpt.load_into(model, tmp_path / 'a.pth')
    assert torch.equal(model.weight, state['module.weight'])


class TestAtomic:
    def test_failure_leaves_the_old_file(self, tmp_path):
        path = tmp_path / 'a.pth'
        path.write_bytes(b'old')
        with pytest.raises(RuntimeError, match='disk'):
            with ckpt.atomic_path(path) as temporary:
                temporary.write_bytes(b'half')
                raise RuntimeError('disk full')
        assert path.read_bytes() == b'old'
        assert [p.name for p in tmp_path.iterdir()] == ['a.pth']

    def test_writer_that_takes_another_name(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='a was not written, but .*npy'):
            with ckpt.atomic_path(tmp_path / 'a') as temporary:
                np.save(temporary, np.ones(2))
        assert not list(tmp_path.iterdir())

    def test_leftovers_of_a_killed_program(self, tmp_path):
        """They are removed by the next that writes there, not while one writes."""
        code = (
            'import os, sys; from smpconv_mm.checkpoint import atomic_path\n'
            'with atomic_path(sys.argv[1]) as path:\n'
            '    path.write_text("half"); os.kill(os.getpid(), 9)'
        )
        subprocess.run([sys.executable, '-c', code, tmp_path / 'a.pth'], cwd=ROOT)
        (left,) = tmp_path.iterdir()
        assert left.name.startswith('.a.') and left.read_text() == 'half'
        with ckpt.atomic_path(tmp_path / 'b.pth') as one:
            assert not left.exists()
            ckpt.save(dict(a=1), tmp_path / 'c.pth')
            assert one.exists()
        assert {p.name for p in tmp_path.iterdir()} == {'b.pth', 'c.pth'}

    @pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs Linux')
    @pytest.mark.parametrize('write', ['save', 'text'])
    def test_a_full_disk(self, tmp_path, monkeypatch, write):
        """The file is named, not the temporary one, and what helps."""
        path = tmp_path / 'a.pth'
        path.write_bytes(b'old')

        def full(suffix, prefix, dir):
            name = f'{dir}/{prefix}x{suffix}'
            os.symlink('/dev/full', name)
            return os.open(name, os.O_RDWR), name

        monkeypatch.setattr(tempfile, 'mkstemp', full)
        with pytest.raises(SystemExit) as info, plain_errors():
            if write == 'save':
                ckpt.save(dict(weight=torch.ones(100_000)), path)
            else:
                with ckpt.atomic_path(path) as temporary:
                    temporary.write_text('x')
        assert str(info.value) == (
            f'error: {path}: the disk is full; make room or choose another folder'
        )
        assert path.read_bytes() == b'old'
        assert [p.name for p in tmp_path.iterdir()] == ['a.pth']

    def test_a_folder_that_cannot_be_written_to(self, tmp_path, monkeypatch):
        def denied(suffix, prefix, dir):
            name = f'{dir}/{prefix}x{suffix}'
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)

        monkeypatch.setattr(tempfile, 'mkstemp', denied)
        with pytest.raises(SystemExit, match=f'error: {tmp_path}/a.pth: permission d'):
            with plain_errors():
                ckpt.save({}, tmp_path / 'a.pth')

    def test_success(self, tmp_path):
        path = tmp_path / 'folder' / 'a.pth'
        ckpt.save(dict(a=torch.ones(1)), path)
        assert ckpt.load(path)['a'].item() == 1
        assert [p.name for p in path.parent.iterdir()] == ['a.pth']
        assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()

    def test_backend_of_mmengine(self, tmp_path, monkeypatch):
        backend = get_file_backend(backend_args=dict(backend='atomic'))
        path = tmp_path / 'a.bin'
        backend.put(b'one', str(path))
        assert path.read_bytes() == b'one'

        def broken(*args):
            raise OSError('no space')

        monkeypatch.setattr(os, 'replace', broken)
        with pytest.raises(OSError, match='no space'):
            backend.put(b'two', str(path))
        assert path.read_bytes() == b'one'
        assert [p.name for p in tmp_path.iterdir()] == ['a.bin']


def _umask():
    value = os.umask(0)
    os.umask(value)
    return value


def test_find_latest(tmp_path):
    assert ckpt.find_latest(tmp_path) is None
    for i, name in enumerate(['epoch_1.pth', 'epoch_2.pth']):
        (tmp_path / name).write_bytes(b'')
        os.utime(tmp_path / name, (i, i))
    pointer = tmp_path / 'last_checkpoint'
    assert ckpt.find_latest(tmp_path).name == 'epoch_2.pth'
    pointer.write_text(str(tmp_path / 'epoch_1.pth'))
    assert ckpt.find_latest(tmp_path).name == 'epoch_1.pth'
    for text in ('', str(tmp_path / 'epoch_9.pth')):  # a killed run
        pointer.write_text(text)
        assert ckpt.find_latest(tmp_path).name == 'epoch_2.pth'
    pointer.write_text('/elsewhere/epoch_1.pth')  # the work dir was moved
    assert ckpt.find_latest(tmp_path).name == 'epoch_1.pth'

"""The models in mmpretrain's hub, as a user finds them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
USE = """
import sys, smpconv_mm
assert 'mmpretrain' not in sys.modules
import smpconv_mm.models
from mmpretrain import get_model, list_models
names = list_models('smp*')
found = [get_model(name) for name in names]
print(names)
print(found[-1]._metainfo.config.filename)
print({type(model.backbone).__name__ for model in found})
try:
    get_model('smpnet-tiny_in1k', pretrained=True)
except RuntimeError as error:
    print(error)
"""


def use(code, path, cwd):
    environment = {**os.environ, 'PYTHONPATH': str(path)}
    command = [sys.executable, '-c', code]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_installed(tmp_path):
    """As in a wheel, where configs lie in ``.mim``: built, named and refused."""
    subprocess.run(
        [sys.executable, 'setup.py', '-q', 'build_py', '--build-lib', tmp_path],
        cwd=ROOT,
        env={**os.environ, 'SMPCONV_MM_WITH_EXT': '0'},
        check=True,
        capture_output=True,
    )
    said = use(USE, tmp_path, tmp_path)
    assert "'smpnet-tiny_in1k'" in said and "'smp-tcn_smnist'" in said
    assert 'mask-rcnn' not in said  # mmpretrain could not build it
    assert f'{tmp_path}/smpconv_mm/.mim/configs/smpconv/smpnet-tiny' in said
    assert all(name in said for name in ('SMPNet', 'SMPTCN', 'SMPResNet'))
    assert 'no weights of smpnet-tiny_in1k to download' in said


def test_mmpretrain_first(tmp_path):
    """In a checkout, imported in the other order; weights of one's own."""
    code = f"""
from mmpretrain import get_model
import smpconv_mm.models, torch
model = get_model('smpnet-micro_digits', backbone=dict(drop_path_rate=0.0))
path = {str(tmp_path / 'own.pth')!r}
torch.save(dict(state_dict=model.state_dict()), path)
again = get_model('smpnet-micro_digits', pretrained=path)
print(torch.equal(again.head.fc.weight, model.head.fc.weight))
print(get_model('resnet18_8xb32_in1k')._metainfo.weights)
"""
    said = use(code, ROOT, tmp_path)
    assert 'True\n' in said
    assert 'https://' in said  # nothing changed for mmpretrain's own

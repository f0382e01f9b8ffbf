"""A folder stands for the hub; nothing is sent anywhere."""

import importlib.util
import json
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch

from smpconv_mm.checkpoint import load, save
from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_model
from smpconv_mm.errors import CheckpointError, UsageError
from smpconv_mm.layers import switch_to_deploy
from smpconv_mm.registry import MODELS

huggingface_hub = pytest.importorskip('huggingface_hub')
META = dict(epoch=3, cfg='work_dir = "/home/me"', dataset_meta=dict(classes=('a', 'b')))


@pytest.fixture(scope='module')
def files(tiny_config, tmp_path_factory):
    """A config, its checkpoint and the model in them."""
    torch.manual_seed(0)
    model = build_model(load_config(str(tiny_config))).eval()
    for module in model.modules():  # statistics that are not those of a new network
        if hasattr(module, 'running_var'):
            module.running_var.uniform_(0.5, 2)
    path = tmp_path_factory.mktemp('weights') / 'epoch_3.pth'
    save(dict(state_dict=model.state_dict(), meta=META, optimizer={}), path)
    return tiny_config, path, model


@pytest.fixture
def hub():
    from smpconv_mm.apis.hub import HubModel

    return HubModel


def image():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('deploy', [False, True])
def test_folder(hub, files, deploy, tmp_path):
    config, path, model = files
    if deploy:
        model = switch_to_deploy(build_model(load_config(str(config)), path).eval())
        path = tmp_path / 'deploy.pth'
        save(dict(state_dict=model.state_dict(), meta=dict(META, deploy=True)), path)
    saved = hub.from_files(str(config), path)
    saved.save_pretrained(tmp_path / 'net', model_card_kwargs=dict(license='mit'))
    names = {p.name for p in (tmp_path / 'net').iterdir()}
    assert names == {'README.md', 'config.json', 'model.safetensors'}
    read = hub.from_pretrained(tmp_path / 'net')
    with torch.no_grad():
        assert torch.equal(read(image()), model(image(), mode='tensor'))
    assert read.meta['dataset_meta'] == dict(classes=['a', 'b'])
    assert not read.training and 'cfg' not in read.meta
    # entries have the names that they have in every checkpoint
    weights = load(tmp_path / 'net/model.safetensors')['state_dict']
    assert set(weights) == set(model.state_dict())


def test_card(hub, files, tmp_path):
    config, path, model = files
    hub.from_files(str(config), path).save_pretrained(
        tmp_path, model_card_kwargs=dict(license='mit', name='me/net')
    )
    card = huggingface_hub.ModelCard.load(tmp_path / 'README.md')
    assert card.data.license == 'mit' and card.data.library_name == 'smpconv_mm'
    assert card.data.pipeline_tag == 'image-classification'
    assert card.data.tags == ['SMPKernel', 'SMPNet', 'smpconv_mm']
    assert '# net\n' in card.text and 'Classes (2): a, b' in card.text
    count = sum(p.numel() for p in model.parameters())
    assert f'with {count / 1e6:.3g} M parameters' in card.text
    (block,) = [part for part in card.text.split('```') if part.startswith('python')]
    code = block.removeprefix('python').replace('me/net', str(tmp_path))
    names = dict(images=image())
    exec(code, names)
    assert names['out'].shape == (2, 10)


def test_push_and_download(hub, files, tmp_path, monkeypatch):
    """Through the two calls of huggingface_hub that use the network."""
    config, path, model = files
    remote = tmp_path / 'remote'

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **kwargs):
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, repo_id, folder_path, **kwargs):
            shutil.copytree(folder_path, remote / repo_id)
            return f'commit of {repo_id}'

    def download(repo_id, filename, **kwargs):
        assert kwargs['revision'] == 'main'
        return str(remote / repo_id / filename)

    monkeypatch.setattr('huggingface_hub.hub_mixin.HfApi', Api)
    monkeypatch.setattr('huggingface_hub.hub_mixin.hf_hub_download', download)
    monkeypatch.setattr('smpconv_mm.apis.hub.hf_hub_download', download)
    told = hub.from_files(str(config), path).push_to_hub('me/net')
    assert told == 'commit of me/net'
    read = hub.from_pretrained('me/net', revision='main')
    with torch.no_grad():
        assert torch.equal(read(image()), model(image(), mode='tensor'))


def test_tools_read_the_folder(run_tool, files, tmp_path):
    config, path, _ = files
    folder = tmp_path / 'net'
    publish = 'model_converters/publish_model.py'
    out = run_tool(publish, path, folder, '--hub', config).stdout
    assert f'hf upload NAME {folder}' in out
    args = ('--cfg-options', 'test_dataloader.dataset.indices=32')
    work_dir = ('--work-dir', tmp_path / 'work')
    names = folder / 'config.json', folder / 'model.safetensors'
    found = run_tool('test.py', *names, *args, *work_dir).stdout
    expected = run_tool('test.py', config, path, *args, *work_dir).stdout
    top1 = [text.split('accuracy/top1: ')[1].split()[0] for text in (found, expected)]
    assert top1[0] == top1[1]
    backbone = dict(load_config(str(config)).model.backbone)
    backbone['init_cfg'] = dict(
        type='Pretrained', checkpoint=str(names[1]), prefix='backbone.'
    )
    built = MODELS.build(backbone)
    built.init_weights()
    weights = load(path)['state_dict']
    for key, value in built.state_dict().items():
        assert torch.equal(value, weights[f'backbone.{key}']), key


def test_what_does_not_fit(hub, files, tmp_path):
    config, path, _ = files
    hub.from_files(str(config), path).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / 'config.json').read_text())
    settings['model']['head']['num_classes'] = 7
    (tmp_path / 'config.json').write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match=r'head.fc.weight \(10, 8\) instead of'):
        hub.from_pretrained(tmp_path)
    odd = tmp_path / 'odd.py'
    odd.write_text(f'_base_ = {str(config)!r}\nthing = {{1, 2}}\n')
    with pytest.raises(UsageError, match='odd.py cannot be written as JSON: .* set'):
        hub.from_files(str(odd), path)


def test_without_the_package(monkeypatch):
    monkeypatch.delitem(sys.modules, 'smpconv_mm.apis.hub', raising=False)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        'find_spec',
        lambda name, *args: None if name == 'huggingface_hub' else find(name, *args),
    )
    with pytest.raises(UsageError, match=r'run pip install "smpconv_mm\[hub\]"'):
        importlib.import_module('smpconv_mm.apis.hub')

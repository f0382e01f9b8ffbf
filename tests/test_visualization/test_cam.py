import numpy as np
import pytest
import torch

from smpconv_mm.apis.inference import Predictor
from smpconv_mm.apis.inputs import dataset_images
from smpconv_mm.checkpoint import save
from smpconv_mm.engine.config import load_config
from smpconv_mm.errors import UsageError
from smpconv_mm.registry import MODELS
from smpconv_mm.visualization import cam


@pytest.fixture(scope='module')
def classifier(tiny_config, tmp_path_factory):
    cfg = load_config(str(tiny_config))
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    path = tmp_path_factory.mktemp('cam') / 'tiny.pth'
    save(dict(state_dict=model.state_dict()), path)
    return cfg, model.eval(), Predictor(cfg, str(path), 'cpu')


def test_is_the_weighted_map(classifier):
    """Behind global pooling, Grad-CAM is the map weighted by the classifier."""
    import pytorch_grad_cam

    cfg, model, _ = classifier
    x = torch.randn(1, 3, 32, 32)
    layer = cam._find_layer(model.backbone, x, None)
    assert layer is model.backbone.norm1
    heat = pytorch_grad_cam.GradCAM(model, [layer])(x)[0]
    with torch.no_grad():
        (feature,) = model.backbone(x)
        chosen = model(x)[0].argmax()
    expected = torch.einsum('c,chw->hw', model.head.fc.weight[chosen], feature[0])
    expected = expected.relu().detach().numpy()
    # the centres of its pixels are kept by the enlargement
    step = 32 // len(expected)
    small = heat.reshape(len(expected), step, -1, step).mean((1, 3))
    assert np.corrcoef(small.flatten(), expected.flatten())[0, 1] > 0.95


def test_figure(classifier):
    cfg, _, inferencer = classifier
    figure = cam.draw_activations(inferencer, list(dataset_images(cfg, 3)))
    assert len(figure.axes) == 7  # with the colours
    titles = [axis.get_title() for axis in figure.axes[::2] if axis.get_title()]
    assert all(title[0] in '0123456789' for title in titles)


def test_mistakes(classifier, monkeypatch):
    cfg, _, inferencer = classifier
    images = list(dataset_images(cfg, 1))
    with pytest.raises(UsageError, match='classes are 0 to 9'):
        cam.draw_activations(inferencer, images, category=10)
    with pytest.raises(UsageError, match="'stages.7' returns no map"):
        cam.draw_activations(inferencer, images, layer='stages.7')
    monkeypatch.setattr(cam, 'find_spec', lambda name: None)
    with pytest.raises(UsageError, match='pip install "grad-cam<1.5.5"'):
        cam.draw_activations(inferencer, images)

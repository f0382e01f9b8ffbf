"""Class activation maps, by the library grad-cam."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from rich.progress import track

from smpconv_mm.apis.inference import load_classifier, read_image
from smpconv_mm.errors import UsageError

from .inputs import choose_map, recorded_maps, test_images

# its name of the library for each of ours
METHODS = {
    'gradcam': 'GradCAM',
    'gradcam++': 'GradCAMPlusPlus',
    'hirescam': 'HiResCAM',
    'layercam': 'LayerCAM',
    'eigencam': 'EigenCAM',
}


def draw_activations(
    cfg: Config,
    checkpoint: str,
    images: list[str] | None = None,
    number: int = 8,
    method: str = 'gradcam',
    layer: str | None = None,
    category: int | None = None,
    device: str | None = None,
) -> Figure:
    """Draw where a classifier looks: images above, activation maps over them below.

    Args:
        cfg (Config): Config of a classifier of images.
        checkpoint (str): Its checkpoint.
        images (list[str], optional): Image files. Defaults to None: samples of
            the test dataset.
        number (int): How many samples of the test dataset. Defaults to 8.
        method (str): One of :data:`METHODS`. Defaults to 'gradcam'.
        layer (str, optional): Layer of the backbone. Defaults to None: the last
            that returns a map.
        category (int, optional): The class looked for. Defaults to None: the
            likeliest of each image.
        device (str, optional): Defaults to None: a GPU if there is one.

    Raises:
        UsageError: If grad-cam is not installed, a file is not an image, or the
            layer or the class does not exist.
        CheckpointError: If the checkpoint cannot be read or does not fit.
    """
    if find_spec('pytorch_grad_cam') is None:
        raise UsageError(
            'class activation maps need the package grad-cam, which is not '
            'installed; pip install "grad-cam<1.5.5" (later ones bring a second '
            'OpenCV along)'
        )
    import pytorch_grad_cam as library
    from pytorch_grad_cam.utils.image import show_cam_on_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    if images:
        pictures = [read_image(path) for path in images]
    else:
        pictures = list(test_images(cfg, number))
    inferencer = load_classifier(cfg, checkpoint, device)
    model = inferencer.model.eval().requires_grad_(True)
    columns = len(pictures)
    figure = Figure(figsize=(1.5 * columns, 3.4), layout='constrained')
    axes = figure.subplots(2, columns, squeeze=False)
    method_of = None
    for picture, column in track(list(zip(pictures, axes.T)), 'activations'):
        (data,) = inferencer.preprocess([picture])
        shown = _rgb(data['inputs'][0], cfg)
        x = model.data_preprocessor(data, False)['inputs']
        if method_of is None:  # the layer is found by the first image
            target = _find_layer(model.backbone, x, layer)
            method_of = getattr(library, METHODS[method])(model, [target])
        scores = model(x)[0].softmax(-1).detach()
        if category is not None and not 0 <= category < len(scores):
            raise UsageError(
                f'--category {category}: the classes are 0 to {len(scores) - 1}'
            )
        chosen = int(scores.argmax()) if category is None else category
        (heat,) = method_of(x, [ClassifierOutputTarget(chosen)])
        names = inferencer.classes
        name = names[chosen] if names else chosen
        column[0].imshow(shown)
        column[0].set_title(f'{name}: {float(scores[chosen]):.2f}', fontsize=8)
        column[1].imshow(show_cam_on_image(shown, heat, use_rgb=True))
        for axis in column:
            axis.set_axis_off()
    return figure


def _rgb(x: torch.Tensor, cfg: Config) -> np.ndarray:
    """What the pipeline made of an image, as (H, W, 3) from 0 to 1."""
    image = x.float().numpy().transpose(1, 2, 0)
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    if (preprocessor or {}).get('to_rgb'):
        image = image[..., ::-1]  # the pipeline keeps OpenCV's BGR
    low, high = image.min(), image.max()
    return ((image - low) / max(high - low, 1e-6)).astype(np.float32)


def _find_layer(
    backbone: torch.nn.Module, x: torch.Tensor, layer: str | None
) -> torch.nn.Module:
    with torch.no_grad(), recorded_maps(backbone) as maps:
        backbone(x)
    maps.pop('', None)  # returns a tuple, which grad-cam cannot take
    return backbone.get_submodule(choose_map(maps, layer))

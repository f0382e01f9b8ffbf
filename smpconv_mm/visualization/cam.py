"""Class activation maps, by the library grad-cam."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import torch
from matplotlib.figure import Figure
from mmpretrain import ImageClassificationInferencer
from rich.progress import track

from smpconv_mm.errors import UsageError

from .maps import choose_map, recorded_maps
from .samples import as_picture

# its name of the library for each of ours
METHODS = {
    'gradcam': 'GradCAM',
    'gradcam++': 'GradCAMPlusPlus',
    'hirescam': 'HiResCAM',
    'layercam': 'LayerCAM',
    'eigencam': 'EigenCAM',
}


def draw_activations(
    inferencer: ImageClassificationInferencer,
    images: Sequence[np.ndarray],
    method: str = 'gradcam',
    layer: str | None = None,
    category: int | None = None,
) -> Figure:
    """Draw where a classifier looks: images above, activation maps over them below.

    Args:
        inferencer (ImageClassificationInferencer): The classifier; see
            ``smpconv_mm.apis.inference.load_classifier``.
        images (Sequence[np.ndarray]): Images (H, W, 3), channels in OpenCV's
            order.
        method (str): One of :data:`METHODS`. Defaults to 'gradcam'.
        layer (str, optional): Layer of the backbone. Defaults to None: the last
            that returns a map.
        category (int, optional): The class looked for. Defaults to None: the
            likeliest of each image.

    Raises:
        UsageError: If grad-cam is not installed, or the layer or the class does
            not exist.
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

    model = inferencer.model.eval().requires_grad_(True)
    columns = len(images)
    figure = Figure(figsize=(1.5 * columns, 3.4), layout='constrained')
    axes = figure.subplots(2, columns, squeeze=False)
    method_of = None
    for image, column in track(list(zip(images, axes.T)), 'activations'):
        (data,) = inferencer.preprocess([image])
        shown = as_picture(data['inputs'][0], model.data_preprocessor.to_rgb)
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


def _find_layer(
    backbone: torch.nn.Module, x: torch.Tensor, layer: str | None
) -> torch.nn.Module:
    with torch.no_grad(), recorded_maps(backbone) as maps:
        backbone(x)
    maps.pop('', None)  # returns a tuple, which grad-cam cannot take
    return backbone.get_submodule(choose_map(maps, layer))

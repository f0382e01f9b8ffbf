"""Class activation maps, by the library grad-cam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

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


class Evidence(nn.Module):
    """Numbers for classes, (1, classes), as grad-cam differentiates them.

    A classifier gives its scores, of which the shown probability is the softmax; a
    segmenter the mean logit of a class over the pixels that it gives to the class; a
    detector the score of its best box of a class.

    Args:
        model (nn.Module): A classifier, detector or segmenter.
        task (str): ``'classification'``, ``'detection'`` or ``'segmentation'``.
        classes (int): Number of classes, of detectors only.
    """

    def __init__(self, model: nn.Module, task: str, classes: int = 0) -> None:
        super().__init__()
        self.model, self.task, self.classes = model, task, classes
        self.samples = None

    def forward(self, x: Tensor) -> Tensor:
        """Of a normalised image (1, C, H, W)."""
        if self.task == 'classification':
            return self.model(x)
        if self.task == 'segmentation':
            logits = self.model(x, mode='tensor')
            mine = F.one_hot(logits.argmax(1), logits.shape[1]).movedim(-1, 1)
            return (logits * mine).sum((2, 3)) / mine.sum((2, 3)).clamp(min=1)
        if not hasattr(self.model, 'roi_head'):
            return self._best_of_anchors(x)
        (sample,) = self.model(x, self.samples, mode='predict')
        scores, labels = sample.pred_instances.scores, sample.pred_instances.labels
        count = max(self.classes, int(labels.max()) + 1 if len(labels) else 1)
        zero = scores.new_zeros(1)
        best = [torch.cat([scores[labels == c], zero]).max() for c in range(count)]
        return torch.stack(best)[None]

    def _best_of_anchors(self, x: Tensor) -> Tensor:
        """Of a detector in one stage, whose boxes mmdet cuts off from gradients."""
        head = self.model.bbox_head
        maps = head(self.model.extract_feat(x))[0]
        count = getattr(head, 'cls_out_channels', None)
        if count is None or any(m.dim() != 4 or m.shape[1] % count for m in maps):
            raise UsageError(
                f'activation maps of {type(head).__name__} are not made: it gives no '
                'maps of scores, as heads with anchors do'
            )
        scores = torch.cat([m.view(1, -1, count, m[0, 0].numel()) for m in maps], -1)
        if getattr(head, 'use_sigmoid_cls', True):
            scores = scores.sigmoid()
        else:  # the last is the background
            scores = scores.softmax(2)[:, :, :-1]
        return scores.amax((1, 3))


def draw_activations(
    predictor: Callable,
    images: Sequence[np.ndarray],
    method: str = 'gradcam',
    layer: str | None = None,
    category: int | None = None,
) -> Figure:
    """Draw where a network looks: images above, activation maps over them below.

    Args:
        predictor (Callable): A ``smpconv_mm.apis.inference.Predictor`` of a
            classifier, detector or segmenter.
        images (Sequence[np.ndarray]): Images (H, W, 3), channels in OpenCV's
            order.
        method (str): One of :data:`METHODS`. Defaults to 'gradcam'.
        layer (str, optional): Layer of the backbone. Defaults to None: the last
            that returns a map.
        category (int, optional): The class looked for. Defaults to None: of each
            image the likeliest, the one of the largest segment, or the one of the
            best box.

    Raises:
        UsageError: If grad-cam is not installed, or the method, the layer or the
            class does not exist.
    """
    if method not in METHODS:
        raise UsageError(f'method {method!r} is unknown; take one of {list(METHODS)}')
    if find_spec('pytorch_grad_cam') is None:
        raise UsageError(
            'class activation maps need the package grad-cam, which is not '
            'installed; pip install "grad-cam<1.5.5" (later ones bring a second '
            'OpenCV along)'
        )
    import pytorch_grad_cam as library
    from pytorch_grad_cam.utils.image import show_cam_on_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model = predictor.model.eval().requires_grad_(True)
    names = predictor.classes
    evidence = Evidence(model, predictor.task, len(names or ()))
    columns = len(images)
    aspect = max(image.shape[0] / image.shape[1] for image in images)
    figure = Figure(
        figsize=(1.7 * columns + 0.7, 3.4 * aspect + 0.4), layout='constrained'
    )
    axes = figure.subplots(2, columns, squeeze=False)
    preprocessor = model.data_preprocessor
    method_of = None
    for image, column in zip(images, axes.T):
        data = predictor.prepare(image)
        shown = as_picture(data['inputs'][0], predictor.bgr)
        data = preprocessor(data, False)
        x, evidence.samples = data['inputs'], data['data_samples']
        if method_of is None:  # the layer is found by the first image
            target = _find_layer(model.backbone, x, layer)
            method_of = getattr(library, METHODS[method])(evidence, [target])
        with torch.no_grad():
            found = evidence(x)[0]
        count = len(found)
        if category is not None and not 0 <= category < count:
            raise UsageError(f'--category {category}: the classes are 0 to {count - 1}')
        chosen = _likeliest(evidence, x, found) if category is None else category
        for axis in column:
            axis.set(xticks=[], yticks=[])
        column[0].imshow(shown)
        if predictor.task != 'classification' and not found[chosen]:
            name = names[chosen] if names else chosen
            column[0].set_title(
                'nothing' if category is None else f'no {name}', fontsize=8
            )
            column[1].imshow(shown)
            continue
        (heat,) = method_of(x, [ClassifierOutputTarget(chosen)])
        heat = heat[: shown.shape[0], : shown.shape[1]]  # without the padding
        name = names[chosen] if names and len(names) >= count else chosen
        score = found.softmax(-1) if predictor.task == 'classification' else found
        column[0].set_title(f'{name}: {float(score[chosen]):.2f}', fontsize=8)
        column[1].imshow(show_cam_on_image(shown, heat, use_rgb=True))
    for axis, what in zip(axes[:, 0], ('image', 'activation')):
        axis.set_ylabel(what, fontsize=8)
    colours = ScalarMappable(Normalize(0, 1), 'jet')  # those of show_cam_on_image
    bar = figure.colorbar(colours, ax=axes[1], fraction=0.05, pad=0.02)
    bar.set_label('activation, largest = 1', fontsize=7)
    bar.ax.tick_params(labelsize=6)
    return figure


def _likeliest(evidence: Evidence, x: Tensor, found: Tensor) -> int:
    """The class of most pixels, else that of the largest number."""
    if evidence.task != 'segmentation':
        return int(found.argmax())
    with torch.no_grad():
        return int(evidence.model(x, mode='tensor').argmax(1).flatten().mode()[0])


def _find_layer(backbone: nn.Module, x: Tensor, layer: str | None) -> nn.Module:
    with torch.no_grad(), recorded_maps(backbone) as maps:
        backbone(x)
    maps.pop('', None)  # returns a tuple, which grad-cam cannot take
    return backbone.get_submodule(choose_map(maps, layer))

"""The network of a config as a function of one tensor, for export and timing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from smpconv_mm.checkpoint import check_fits, in_deploy_form, load, state_dict_of
from smpconv_mm.engine.config import preprocessor_of, turns_channels
from smpconv_mm.engine.runner import build_model
from smpconv_mm.errors import UsageError
from smpconv_mm.layers import switch_to_deploy
from smpconv_mm.ops import use_backend

_PROBE = 512  # side of the input that the stride is measured with; a power of two


class Network(nn.Module):
    """A classifier's scores, or the maps of the backbone of any other model.

    Args:
        cfg (Config): Config of a classifier, of a detector or a segmenter, whose
            backbone is taken, or one whose ``model`` is itself a backbone.

    Input: normalised images (N, in_channels, H, W), or sequences
    (N, in_channels, L). Output: scores before the softmax, (N, classes), or a
    tuple of maps (N, C_i, H_i, W_i).

    Attributes:
        classifier (bool): Whether the output is scores.
        in_channels (int): Channels of the input.
        ndim (int): 2 for images, 1 for sequences.
        preprocessing (str): How the config normalises the input, in words.
    """

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        model = cfg.model
        self.classifier = 'backbone' in model and model.type.endswith('Classifier')
        self._whole = self.classifier or 'backbone' not in model
        self.model = build_model(cfg, part=None if self._whole else 'backbone')
        backbone = self._backbone()
        self.in_channels = getattr(backbone, 'in_channels', 3)
        self.ndim = getattr(backbone, 'ndim', 2)
        self.preprocessing = _preprocessing(cfg)
        self.eval()

    def _backbone(self) -> nn.Module:
        return self.model.backbone if self.classifier else self.model

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Scores, or a tuple of maps."""
        if self.classifier:
            return self.model(input, mode='tensor')
        return tuple(self.model(input))

    def load(self, path: str | Path) -> None:
        """Load a checkpoint, in training or in deploy form, of the whole model.

        Raises:
            CheckpointError: If it cannot be read or does not fit.
        """
        checkpoint = load(path)
        state_dict = state_dict_of(checkpoint)
        if in_deploy_form(checkpoint):
            self.deploy()
        if not self._whole:
            prefix = 'backbone.'
            state_dict = {
                key.removeprefix(prefix): value
                for key, value in state_dict.items()
                if key.startswith(prefix)
            }
        check_fits(self.model, state_dict, path)
        self.model.load_state_dict(state_dict)

    def deploy(self) -> Network:
        """Bring the network into deploy form, in place."""
        switch_to_deploy(self.model)
        return self

    def stride(self) -> int:
        """Pixels of the input per pixel of the smallest map; in deploy form."""
        shape = (1, self.in_channels, *(_PROBE,) * self.ndim)
        # shapes only, nothing is computed
        with torch.no_grad(), plain_convolutions():
            with FakeTensorMode(allow_non_fake_inputs=True):
                maps = self._backbone()(torch.empty(shape))
        sides = [min(m.shape[2:]) for m in maps if m.dim() == self.ndim + 2]
        return max((round(_PROBE / side) for side in sides), default=1)


def choose_device(name: str | None = None) -> torch.device:
    """The device of a name, by default a GPU if there is one, else the CPU.

    Raises:
        UsageError: If there is no such device.
    """
    if name is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f'--device {name}: {reason}; take cpu, cuda or cuda:0, or leave it out'
        ) from error
    return device


def compile_frozen(network: nn.Module) -> Callable:
    """Compile a network for inference, its weights as constants.

    The compiler folds constants, lays weights out for their convolutions and computes
    activations and sums with them. It asks a setting of the whole process whether to
    do so (``options={'freezing': True}`` of ``torch.compile`` comes too late), which
    is set during the calls only.

    Args:
        network (nn.Module): In eval mode. Later changes of its weights are not seen.

    Returns:
        Callable: Of the same arguments; gives no gradients.
    """
    from torch._inductor import config

    compiled = torch.compile(network)

    def run(*args: Tensor) -> object:
        # the compiler freezes under no_grad, not in inference mode
        with torch.no_grad(), config.patch(freezing=True):
            return compiled(*args)

    return run


@contextmanager
def plain_convolutions() -> Iterator[None]:
    """Convolve with torch's own operators, which exporters and all devices know."""
    plain = dict(depthwise_conv2d='conv2d', causal_conv1d='direct', conv2d='direct')
    with ExitStack() as stack:
        for op, backend in plain.items():
            stack.enter_context(use_backend(op, backend))
        yield


def _preprocessing(cfg: Config) -> str:
    settings = preprocessor_of(cfg)
    if 'mean' not in settings:
        return 'none'
    order = 'from BGR to RGB, ' if turns_channels(cfg) else ''
    return f'{order}(x - {list(settings["mean"])}) / {list(settings["std"])}'

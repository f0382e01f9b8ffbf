"""From the training form of a network to its deploy form."""

from __future__ import annotations

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights


def bn_scale_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift, (C,) each, that a batch norm applies in eval mode.

    Raises:
        TypeError: If ``norm`` is not a batch norm with running statistics.
    """
    if not isinstance(norm, _BatchNorm) or norm.running_var is None:
        raise TypeError(
            'only a batch norm with running statistics can be folded into a '
            f'convolution, got {norm}; keep this model in its training form'
        )
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias


def fuse_conv_bn(
    weight: Tensor, bias: Tensor | None, norm: nn.Module
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution equal to ``norm(conv(x))``."""
    bn_scale_shift(norm)  # refuses what cannot be folded
    weight, bias = fuse_conv_bn_weights(
        weight,
        bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    return weight.detach(), bias.detach()


def check_foldable(model: nn.Module) -> None:
    """Raise ``TypeError`` if a norm that deploy form must fold cannot be folded."""
    for module in model.modules():
        if isinstance(module, ConvModule) and module.with_norm:
            bn_scale_shift(module.norm)


@torch.no_grad()
def fold_conv_module(module: ConvModule) -> None:
    """Fold the norm of a ``conv -> norm`` ConvModule into its convolution."""
    if not module.with_norm:
        return
    if module.order.index('norm') != module.order.index('conv') + 1:
        raise ValueError(
            f'only a norm right after the convolution can be folded, got {module.order}'
        )
    conv = module.conv
    weight, bias = fuse_conv_bn(conv.weight, conv.bias, module.norm)
    conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
    delattr(module, module.norm_name)
    module.norm_name = None
    module.with_norm, module.with_bias = False, True


@torch.no_grad()
def fold_norm_before(norm: nn.Module, conv: nn.Conv2d) -> None:
    """Fold a batch norm into the 1x1 convolution that follows it.

    Larger kernels are refused: their zero padding would have to become the
    norm's shift.
    """
    if conv.kernel_size != (1, 1) or conv.groups != 1 or conv.padding != (0, 0):
        raise ValueError(
            f'only a plain 1x1 convolution can take up the norm before it, got {conv}'
        )
    scale, shift = bn_scale_shift(norm)
    bias = conv.weight[:, :, 0, 0] @ shift
    if conv.bias is not None:
        bias = bias + conv.bias
    conv.weight = nn.Parameter(conv.weight * scale[None, :, None, None])
    conv.bias = nn.Parameter(bias)


def switch_to_deploy(model: nn.Module) -> nn.Module:
    """Bring every part of a network into its deploy form, in place.

    A module with a ``switch_to_deploy()`` of its own (layers and backbones of
    this package, mmpretrain's RepVGG, ...) is asked to do it; in all others,
    batch norms that stand right after the convolution of a ConvModule are
    folded into it.

    Args:
        model (nn.Module): Any network; set to eval mode.

    Returns:
        nn.Module: ``model`` itself.
    """
    model.eval()
    if hasattr(model, 'switch_to_deploy'):
        model.switch_to_deploy()
        return model
    for child in model.children():
        switch_to_deploy(child)
    if isinstance(model, ConvModule) and isinstance(model.norm, _BatchNorm):
        fold_conv_module(model)
    return model

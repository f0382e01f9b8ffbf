"""The maps that the modules of a network make."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from smpconv_mm.errors import UsageError


@contextmanager
def recorded_maps(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Record the two-dimensional maps that the modules of a network return.

    Yields:
        dict[str, Tensor]: Filled by a forward pass: names of modules ('' is the
        network itself) and the maps (N, C, H, W) that they return, in the order
        in which they finish; of several maps the last. Maps of one pixel count
        for the network alone.
    """
    maps: dict[str, Tensor] = {}
    handles = []

    def record(name):
        def hook(module, args, output):
            last = output[-1] if isinstance(output, (tuple, list)) else output
            # a module called without arguments makes a kernel, not a map
            is_map = bool(args) and isinstance(last, Tensor) and last.dim() == 4
            if is_map and (not name or last[0, 0].numel() > 1):
                maps.pop(name, None)
                maps[name] = last

        return hook

    for name, module in network.named_modules():
        handles.append(module.register_forward_hook(record(name)))
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def choose_map(maps: dict[str, Tensor], layer: str | None) -> str:
    """Name of the layer whose map is asked for, by default that of the last map.

    Raises:
        UsageError: If there is no such map.
    """
    if not maps:
        raise UsageError(
            'the network returns no two-dimensional maps (N, C, H, W) of more than '
            'one pixel; a network of sequences has none, one of tokens may have them '
            "with out_type='featmap'"
        )
    if layer is None:
        return next(reversed(maps))
    if layer not in maps:
        stages = [name for name in maps if name.count('.') <= 1]
        raise UsageError(
            f'--layer {layer!r} returns no map; layers that do are {stages} and '
            'layers inside of them'
        )
    return layer

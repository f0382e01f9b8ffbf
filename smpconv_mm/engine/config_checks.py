"""Is there in a config, or an option, what no part would ever read?"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator

from mmengine.config import Config
from mmengine.runner import Runner

from smpconv_mm.errors import UsageError

# what is read of a config: the arguments of MMEngine's runner, and besides
PARTS = {
    *inspect.signature(Runner.__init__).parameters,
    'ablation',
    'activation_checkpointing',
    'auto_scale_lr',
    'channels_last',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'init_weights_for_test_or_val',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
} - {'self', 'cfg'}


def check_parts(cfg: Config) -> None:
    """Raise if a config has a misspelt part.

    A config may have variables of its own, which only the file itself reads. One
    that is named nearly as a part is taken for that part.

    Raises:
        UsageError: Names the part, and that which it resembles.
    """
    for part in cfg:
        close = [] if part in PARTS else _close(part, PARTS, 0.92)
        if close:
            raise UsageError(
                f'{cfg.filename}: nothing reads {part!r}; did you mean {close[0]!r}? '
                'If it is a variable of your own, give it another name'
            )


def check_options(cfg: Config, options: dict) -> None:
    """Raise if an option of ``--cfg-options`` would change nothing.

    Raises:
        UsageError: Names the option, and what may have been meant.
    """
    for option in options:
        keys = option.split('.')
        if keys[0] in PARTS:
            _check_keys(cfg, option, keys)
            continue
        meant = sorted(_places(cfg, keys), key=_likely)
        meant += ['.'.join([close, *keys[1:]]) for close in _close(keys[0], PARTS)]
        what = (
            f'{keys[0]!r} is a variable of the config file, which no part reads'
            if keys[0] in cfg
            else f'no part of a config is named {keys[0]!r}'
        )
        hint = f'; did you mean {meant[0]}?' if meant else ''
        raise UsageError(f'--cfg-options {option}: {what}{hint}')


def _check_keys(cfg: Config, option: str, keys: list[str]) -> None:
    node = cfg
    for i, key in enumerate(keys):
        where = '.'.join(keys[:i])
        if isinstance(node, (list, tuple)):
            if not key.isdigit() or int(key) >= len(node):
                raise UsageError(
                    f'--cfg-options {option}: {where} is a list of {len(node)}, whose '
                    f'entries are numbered from 0; there is no {key!r}'
                )
            node = node[int(key)]
        elif isinstance(node, (dict, Config)):
            if key.isdigit():
                raise UsageError(f'--cfg-options {option}: {where} is not a list')
            if key not in node:
                # a part with a type refuses by itself what it does not know
                close = [] if 'type' in node else _close(key, node, 0.8)
                if i and close:
                    meant = '.'.join([*keys[:i], close[0], *keys[i + 1 :]])
                    raise UsageError(
                        f'--cfg-options {option}: {where} has no {key!r}; did you mean '
                        f'{meant}?'
                    )
                return
            node = node[key]
        else:
            return


def _likely(place: str) -> tuple:
    return place.count('.'), not place.startswith(('train', 'optim')), len(place)


def _close(name: str, names, least: float = 0.6) -> list[str]:
    return difflib.get_close_matches(name, [*names], n=1, cutoff=least)


def _places(cfg: Config, keys: list[str]) -> Iterator[str]:
    """Options that end with the given keys and that a part reads."""

    def walk(node, path: list[str]) -> Iterator[str]:
        if path[-len(keys) :] == keys:
            yield '.'.join(path)
        if isinstance(node, dict):
            for key, child in node.items():
                yield from walk(child, [*path, str(key)])
        elif isinstance(node, (list, tuple)):
            for i, child in enumerate(node):
                yield from walk(child, [*path, str(i)])

    for part in cfg:
        if part in PARTS:
            yield from walk(cfg[part], [part])

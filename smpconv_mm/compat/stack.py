"""Which OpenMMLab packages are installed, and whether they are new enough."""

from __future__ import annotations

import warnings
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from packaging.version import Version

# import name -> the distributions that provide it; any of them will do
NAMES = {
    'mmengine': ('mmengine', 'mmengine-lite', 'onedl-mmengine'),
    'mmcv': ('mmcv', 'mmcv-lite', 'onedl-mmcv', 'onedl-mmcv-lite'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
    'mmdet': ('mmdet', 'onedl-mmdetection'),
    'mmseg': ('mmsegmentation', 'onedl-mmsegmentation'),
}
HOW_TO_INSTALL = (
    'Run "bash tools/install.sh --level full", which installs mmdet and '
    'mmsegmentation and compiles the operators of mmcv that they need'
)
LEAST = {'mmengine': '0.10', 'mmcv': '2.0', 'mmpretrain': '1.0'}


def installed(package: str) -> tuple[str, str] | None:
    """Distribution and version that provide an import name, or None."""
    for name in NAMES[package]:
        try:
            return name, version(name)
        except PackageNotFoundError:
            continue
    return None


def lacks_for(scope: str) -> str | None:
    """Say what configs of a scope need that is not installed, or None."""
    if scope in NAMES and find_spec(scope) is None:
        return f'{NAMES[scope][0]}, which is not installed'
    if scope in ('mmdet', 'mmseg') and find_spec('mmcv._ext') is None:
        return 'mmcv with its compiled operators; mmcv-lite has none'
    return None


def check_stack() -> None:
    """Warn once, naming package and remedy, if the stack is not complete."""
    faults = []
    for package, wanted in LEAST.items():
        found = installed(package)
        if found is None:
            faults.append(f'{package} >= {wanted} is missing')
        elif Version(found[1]) < Version(wanted):
            faults.append(f'{found[0]} {found[1]} is older than {wanted}')
    if faults:
        warnings.warn(
            f'smpconv_mm: {"; ".join(faults)}. Layers and models need it: run '
            '"bash tools/install.sh", or pip install "smpconv_mm[openmmlab]" or '
            '"smpconv_mm[onedl]"',
            stacklevel=2,
        )

"""What other packages' versions force on us, a file a package."""


def set_up() -> None:
    """Put it right; called once, by importing this package where MMEngine is."""
    from . import mmengine, mmpretrain, stack

    stack.check_stack()
    mmengine.register_with_mmengine()
    mmpretrain.register_with_mmpretrain()

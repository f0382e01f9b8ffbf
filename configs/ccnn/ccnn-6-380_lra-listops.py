_base_ = ['./ccnn-4-140_lra-listops.py']

# kernels' networks are 32 wide here, as published
model = dict(
    backbone=dict(channels=[380] * 6, dropout=0.25),
    head=dict(in_channels=380),
    kernel_losses=[],
)

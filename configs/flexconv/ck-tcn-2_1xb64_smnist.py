_base_ = ['./flex-tcn-2_1xb64_smnist.py']

model = dict(
    backbone=dict(
        kernel_cfg=dict(
            _delete_=True,
            type='CKKernel',
            kernel_net=dict(
                type='GaborNet', hidden_channels=32, num_layers=3, input_scale=25.6
            ),
        )
    )
)

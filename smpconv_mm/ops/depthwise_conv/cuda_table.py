"""Whether ours or torch's depthwise convolution is faster on a GPU.

Written by tools/benchmarks/make_cudnn_table.py,
measured on NVIDIA H200, torch 2.11.0+cu130, cudnn 91900, driver 580.159.04.
For each dtype: sides of the kernel and of the map, images -> a letter each for
contiguous maps without and with gradients, channels-last maps without and with:
"o" ours, "t" torch's.
"""

TABLE: dict[str, dict[tuple[int, int, int], str]] = {
    'bfloat16': {
        (7, 7, 8): 'ooot',
        (7, 7, 64): 'oooo',
        (7, 14, 8): 'oooo',
        (7, 14, 64): 'oooo',
        (7, 28, 8): 'oott',
        (7, 28, 64): 'ooot',
        (7, 56, 8): 'ooto',
        (7, 56, 64): 'oott',
        (7, 112, 8): 'oooo',
        (7, 112, 64): 'ooto',
        (9, 7, 8): 'oooo',
        (9, 7, 64): 'oooo',
        (9, 14, 8): 'oooo',
        (9, 14, 64): 'oooo',
        (9, 28, 8): 'oooo',
        (9, 28, 64): 'oooo',
        (9, 56, 8): 'oooo',
        (9, 56, 64): 'oooo',
        (9, 112, 8): 'oooo',
        (9, 112, 64): 'oooo',
        (13, 7, 8): 'oooo',
        (13, 7, 64): 'oooo',
        (13, 14, 8): 'oooo',
        (13, 14, 64): 'oooo',
        (13, 28, 8): 'oooo',
        (13, 28, 64): 'oooo',
        (13, 56, 8): 'oooo',
        (13, 56, 64): 'oooo',
        (13, 112, 8): 'oooo',
        (13, 112, 64): 'oooo',
        (31, 7, 8): 'oooo',
        (31, 7, 64): 'oooo',
        (31, 14, 8): 'oooo',
        (31, 14, 64): 'oooo',
        (31, 28, 8): 'oooo',
        (31, 28, 64): 'oooo',
        (31, 56, 8): 'oooo',
        (31, 56, 64): 'oooo',
        (31, 112, 64): 'oooo',
        (63, 7, 64): 'oooo',
        (63, 14, 64): 'oooo',
        (63, 28, 64): 'oooo',
        (63, 56, 64): 'oooo',
        (63, 112, 64): 'oooo',
    },
}

"""Whether ours or torch's depthwise convolution is faster on a GPU.

Written by tools/benchmarks/make_cudnn_table.py.
For each dtype: sides of the kernel and of the map, images -> a letter each for
contiguous maps without and with gradients, channels-last maps without and with:
"o" ours, "t" torch's.
"""

TABLE: dict[str, dict[tuple[int, int, int], str]] = {}

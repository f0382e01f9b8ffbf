# The same in a fixed random order of the pixels.
_base_ = './smnist-split.py'

permutation_seed = 0
train_dataloader = dict(dataset=dict(permutation_seed=permutation_seed))
val_dataloader = dict(dataset=dict(permutation_seed=permutation_seed))
test_dataloader = dict(dataset=dict(permutation_seed=permutation_seed))

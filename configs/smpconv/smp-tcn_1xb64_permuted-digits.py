_base_ = './smp-tcn_1xb64_digits.py'

# The checkpoint keeps the permutation; a test with another one is refused.
permuted = dict(dataset=dict(permutation_seed=0))
train_dataloader = permuted
val_dataloader = permuted
test_dataloader = permuted

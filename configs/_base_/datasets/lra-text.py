# The task "Text" of the Long Range Arena: film reviews of at most 4096 bytes. There is
# no validation split, the test split is evaluated while training.
_base_ = './lra-listops.py'
data_preprocessor = dict(num_classes=2)

reviews = dict(type='smpconv_mm.IMDB', data_root='data/aclImdb')
train_dataloader = dict(dataset=reviews)
val_dataloader = dict(dataset=dict(**reviews, split='test'))
test_dataloader = dict(dataset=reviews)

# Ten words of Speech Commands as waveforms: (1, 16000), normalised at each time.
_base_ = './speech-commands-mfcc.py'

train_dataloader = dict(dataset=dict(representation='raw'))
val_dataloader = dict(dataset=dict(representation='raw'))
test_dataloader = dict(dataset=dict(representation='raw'))

_base_ = ['./flex-tcn-6_1xb64_speech-commands-mfcc.py']

model = dict(backbone=dict(channels=[30] * 2))

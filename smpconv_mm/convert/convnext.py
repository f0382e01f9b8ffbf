"""Names of the original ConvNeXt, on which networks of several authors build."""

from __future__ import annotations

from .rules import Rule

NEW = 'backbone.'
_END = r'(?P<end>weight|bias)'


def convnext_rules(stages: int, classifier: bool) -> list[Rule]:
    """Rules to mmpretrain's names.

    Args:
        stages (int): Number of stages of the network.
        classifier (bool): The network that entries are for is a classifier. Else the
            head and the norm before it are dropped.
    """
    block = r'(?P<block>stages\.\d+\.\d+\.)'
    rules = [
        Rule(rf'(?P<name>downsample_layers\.\d\.[01]\.{_END})', rf'{NEW}\g<name>'),
        Rule(rf'{block}gamma', rf'{NEW}\g<block>gamma'),
        Rule(rf'{block}dwconv\.{_END}', rf'{NEW}\g<block>depthwise_conv.\g<end>'),
        Rule(rf'{block}norm\.{_END}', rf'{NEW}\g<block>norm.\g<end>'),
        Rule(rf'{block}pwconv(?P<n>[12])\.{_END}',
             rf'{NEW}\g<block>pointwise_conv\g<n>.\g<end>'),
        Rule(rf'(?P<name>norm\d\.{_END})', rf'{NEW}\g<name>'),
    ]  # fmt: skip
    if not classifier:
        return [*rules, Rule(r'(?:norm|head)\..*', None, reason='of the classifier')]
    return [
        *rules,
        Rule(rf'norm\.{_END}', rf'{NEW}norm{stages - 1}.\g<end>'),
        Rule(rf'head\.{_END}', r'head.fc.\g<end>'),
    ]


def rules_of_ours(classifier: bool) -> list[Rule]:
    """Rules for a classifier of this package, whose names stay.

    Args:
        classifier (bool): As for :func:`convnext_rules`.
    """
    rules = [Rule(r'((?:backbone|head\.fc)\..*)', r'\1')]
    if not classifier:
        only = r'(?:backbone\.norm\d|head)\..*'
        rules.insert(0, Rule(only, None, reason='of the classifier'))
    return rules

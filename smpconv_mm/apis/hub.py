"""Models on the Hugging Face hub, or in folders of the same form."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config
from torch import Tensor, nn

from smpconv_mm.checkpoint import save
from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_model, load_weights
from smpconv_mm.errors import UsageError
from smpconv_mm.layers import KernelConv

if find_spec('huggingface_hub') is None:
    raise UsageError(
        'this needs the package huggingface_hub, which is not installed; run '
        'pip install "smpconv_mm[hub]"'
    )
from huggingface_hub import (
    ModelCard,
    ModelCardData,
    PyTorchModelHubMixin,
    hf_hub_download,
)

WEIGHTS = 'model.safetensors'
CONFIG = 'config.json'

_CARD = """---
{{ card_data }}
---

# {{ title }}

A `{{ backbone }}` with {{ parameters }} M parameters{% if kernels %}, whose kernels are
made by `{{ kernels }}`{% endif %}{% if deploy %}, in deploy form{% endif %}.
{% if classes %}
Classes ({{ number_of_classes }}): {{ classes }}
{% endif %}
## Use

```python
from smpconv_mm.apis.hub import HubModel

model = HubModel.from_pretrained({{ name | tojson }})
out = model(images)  # normalised as config.json says
```

`config.json` is the whole config of the training, `model.safetensors` its checkpoint.
All tools of smpconv_mm take both, as does
`init_cfg=dict(type='Pretrained', checkpoint='model.safetensors', prefix='backbone.')`.
"""


class HubModel(
    nn.Module,
    PyTorchModelHubMixin,
    library_name='smpconv_mm',
    model_card_template=_CARD,
):
    """A model of a config that the hub can keep.

    ``save_pretrained(folder)`` writes ``model.safetensors``, ``config.json`` and
    ``README.md``, a model card; ``push_to_hub(repo_id)`` uploads them;
    ``from_pretrained(folder or repo_id)`` reads them.

    Args:
        config (dict): A whole config, of values that JSON knows.

    Attributes:
        model (nn.Module): The classifier, detector or segmenter.
        meta (dict): ``meta`` of its checkpoint, such as the names of the classes.

    Input: normalised images (N, in_channels, H, W). Output: what ``mode='tensor'`` of
    the model gives, of a classifier the scores.
    """

    def __init__(self, config: dict) -> None:
        super().__init__()
        self.model = build_model(Config(config))
        self.meta: dict = {}

    @classmethod
    def from_files(cls, config: str, checkpoint: str | Path) -> HubModel:
        """The model of a config file and a checkpoint.

        Raises:
            UsageError: If the config cannot be read, or JSON cannot hold it.
            CheckpointError: If the checkpoint cannot be read or does not fit.
        """
        try:
            settings = json.loads(json.dumps(load_config(config).to_dict()))
        except TypeError as error:
            raise UsageError(f'{config} cannot be written as JSON: {error}') from error
        return cls(config=settings)._with_weights(checkpoint)

    def _with_weights(self, path: str | Path) -> HubModel:
        meta = load_weights(self.model, path).get('meta', {})
        # the config lies beside the weights, without paths of the training's machine
        self.meta = {key: value for key, value in meta.items() if key != 'cfg'}
        self.eval()
        return self

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Scores, or what the model gives in place of them."""
        return self.model(x, mode='tensor')

    def _save_pretrained(self, save_directory: Path) -> None:
        checkpoint = dict(state_dict=self.model.state_dict(), meta=self.meta)
        save(checkpoint, save_directory / WEIGHTS)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, config: dict, **kwargs) -> HubModel:
        path = Path(model_id, WEIGHTS)
        if not path.parent.is_dir():
            path = hf_hub_download(model_id, WEIGHTS, **kwargs)
        return cls(config=config)._with_weights(path)

    def generate_model_card(self, *, name: str = 'FOLDER', **card_data) -> ModelCard:
        """The text of ``README.md``.

        Args:
            name (str): How ``from_pretrained`` is called in it.
            **card_data: Of ``huggingface_hub.ModelCardData``, such as ``license``,
                ``datasets`` or ``eval_results``; given to ``save_pretrained`` and
                ``push_to_hub`` as ``model_card_kwargs``.
        """
        backbone = type(self.model.backbone).__name__
        kernels = {
            type(m.kernel).__name__
            for m in self.modules()
            if isinstance(m, KernelConv) and m.kernel is not None
        }
        data = dict(
            library_name='smpconv_mm',
            tags=sorted({'smpconv_mm', backbone, *kernels}),
        )
        if type(self.model).__name__.endswith('Classifier') and self._of_images():
            data['pipeline_tag'] = 'image-classification'
        count = sum(p.numel() for p in self.model.parameters())
        classes = list((self.meta.get('dataset_meta') or {}).get('classes') or ())
        return ModelCard.from_template(
            ModelCardData(**{**data, **card_data}),
            template_str=_CARD,
            title=Path(name).name if name != 'FOLDER' else backbone,
            name=name,
            backbone=backbone,
            parameters=f'{count / 1e6:.3g}',
            kernels='`, `'.join(sorted(kernels)),
            deploy=bool(self.meta.get('deploy')),
            number_of_classes=len(classes),
            classes=', '.join(classes[:20]) + ', ...' * (len(classes) > 20),
        )

    def _of_images(self) -> bool:
        return getattr(self.model.backbone, 'ndim', 2) == 2

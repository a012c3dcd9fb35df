"""What the name of an encoder can be. Imports nothing, so that `mmzoo list` answers at once."""


def list_encoders() -> list[tuple[str, str]]:
    """Pairs of a name pattern and what it stands for."""
    return [
        (
            "<hub name or folder>",
            "text: BERT, RoBERTa, XLM-R, Electra, OPT, LLaMA, T5 and others of transformers",
        ),
        ("<hub name or folder>", "image: ViT, MAE, Swin, CLIP, DINOv2, ResNet, ConvNeXt of transformers"),
        ("timm/<model>[.<tag>]", "image: every model of timm.list_models()"),
        ("open_clip/<model>/<tag>", "text or image: either side of open_clip.list_pretrained()"),
        ("<model type>", "with `config`: random weights, e.g. name bert, config {hidden_size: 64, ...}"),
        ("timm/<model>", "with `config` (arguments of the model, {} for none): random weights"),
        ("open_clip/<any name>", "with `config` (embed_dim, vision_cfg, text_cfg): random weights"),
    ]

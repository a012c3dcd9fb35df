"""What the name of an encoder can be. Imports nothing, so that `mmzoo list` answers at once."""

HUB_NAMES: list[tuple[str, str, str]] = [
    ("BERT", "google-bert/bert-base-uncased", "text"),
    ("BERT, Chinese", "hfl/chinese-bert-wwm-ext", "text"),
    ("RoBERTa", "FacebookAI/roberta-base", "text"),
    ("XLM-R", "FacebookAI/xlm-roberta-base", "text"),
    ("Electra", "google/electra-base-discriminator", "text"),
    ("XLNet", "xlnet/xlnet-base-cased", "text"),
    ("DeBERTa", "microsoft/deberta-v3-base", "text"),
    ("ModernBERT", "answerdotai/ModernBERT-base", "text"),
    ("MiniLM", "sentence-transformers/all-MiniLM-L6-v2", "text"),
    ("T5 (its encoder)", "google-t5/t5-base", "text"),
    ("OPT", "facebook/opt-125m", "text"),
    ("GPT-2", "openai-community/gpt2", "text"),
    ("Llama", "meta-llama/Llama-3.2-1B", "text"),
    ("Qwen2", "Qwen/Qwen2.5-0.5B", "text"),
    ("Mistral", "mistralai/Mistral-7B-v0.1", "text"),
    ("ViT", "google/vit-base-patch16-224", "image"),
    ("ViT-MAE", "facebook/vit-mae-base", "image"),
    ("DeiT", "facebook/deit-base-distilled-patch16-224", "image"),
    ("BEiT", "microsoft/beit-base-patch16-224", "image"),
    ("Swin", "microsoft/swin-tiny-patch4-window7-224", "image"),
    ("ResNet", "microsoft/resnet-50", "image"),
    ("ConvNeXt", "facebook/convnext-tiny-224", "image"),
    ("DINOv2", "facebook/dinov2-base", "image"),
    ("CLIP", "openai/clip-vit-base-patch32", "image"),
    ("CLIP", "openai/clip-vit-base-patch32", "text"),
    ("SigLIP", "google/siglip-base-patch16-224", "image"),
    ("AST", "MIT/ast-finetuned-audioset-10-10-0.4593", "audio"),
    ("CLAP", "laion/clap-htsat-unfused", "audio"),
    ("Whisper (its encoder)", "openai/whisper-base", "audio"),
    ("wav2vec 2.0", "facebook/wav2vec2-base", "audio"),
    ("HuBERT", "facebook/hubert-base-ls960", "audio"),
    ("WavLM", "microsoft/wavlm-base", "audio"),
    ("VideoMAE", "MCG-NJU/videomae-base", "video"),
    ("TimeSformer", "facebook/timesformer-base-finetuned-k400", "video"),
    ("ViViT", "google/vivit-b-16x2-kinetics400", "video"),
]
"""Families of the transformers library that are tested here: name, one of its models on the hub, modality."""


def list_encoders() -> list[tuple[str, str]]:
    """Pairs of a name pattern, or of one name, and what it stands for."""
    patterns = [
        ("<hub name>", "text, image, audio or video: a model of transformers; families below"),
        ("<folder>", "any of them: the same from disk, as a path (/towers/mine or ./mine)"),
        (
            "timm/<model>[.<tag>]",
            "image: every model of timm.list_models(): ViT, ResNet, Swin, BEiT ...",
        ),
        ("open_clip/<model>/<tag>", "text or image: either side of open_clip.list_pretrained()"),
        ("torchvision/<model>", "video: r3d_18, mc3_18, r2plus1d_18, s3d, mvit_v1_b, swin3d_t ..."),
        ("features", "any of them: vectors of the data set, with `config` {width: 1024}, no tower"),
        ("<model type>", "with `config`: random weights, e.g. name bert, config {hidden_size: 64, ...}"),
        ("timm/<model>", "with `config` (arguments of the model, {} for none): random weights"),
        ("open_clip/<any name>", "with `config` (embed_dim, vision_cfg, text_cfg): random weights"),
    ]
    told: dict[str, list[str]] = {}
    for family, name, modality in HUB_NAMES:
        told.setdefault(name, [family]).append(modality)
    return patterns + [(name, f"{', '.join(kinds)}: {family}") for name, (family, *kinds) in told.items()]

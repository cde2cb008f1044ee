"""The sweep: small random models of transformers, one of every family that could be built, as rows.

A model of the sweep is watched in a training. Its overlaps are those of its final logits, or a warning says why they are not.
"""

from typing import Any, Final

import torch
from torch import Tensor

from lightning_cossim import Schedule
from tests.compatibility import sizes as of
from tests.compatibility.swept import ABSENT, NUM_LABELS, NUM_WORDS, FromTimm, Swept

__all__ = ["SAYS", "SWEEP", "TIMM", "WITHOUT_REMEDY"]

SCALE: Final = 0.25


def start_and_end(output: Any) -> Tensor:
    """Where an answer starts and ends: two labels of every word."""
    return torch.stack([output.start_logits, output.end_logits], dim=-1)


def of_words(output: Any) -> Tensor:
    """Of the first of two heads."""
    logits: Tensor = output.prediction_logits
    return logits


def biased(model: Any) -> None:
    """The bias that these add after their head is a buffer: zero as made, learned elsewhere."""
    model.final_logits_bias.copy_(torch.linspace(-1, 1, NUM_WORDS))


def biased_beside(model: Any) -> None:
    """The bias stands beside the layer, not in it."""
    for name, weight in model.named_parameters():
        if name.endswith("bias") and weight.shape == (NUM_WORDS,):
            weight.data.copy_(torch.linspace(-1, 1, NUM_WORDS))


def spread_words(model: Any) -> None:
    """The embedding stands in for the head. As made, its rows are too short to tell words apart."""
    model.get_input_embeddings().weight.data.normal_(0, 0.7)


def _language(name: str, task: str, **settings: Any) -> Swept:
    return Swept(name, "language models", task, sizes={**of.GROUPED, **settings.pop("sizes", {})}, **settings)


def _masked(name: str, task: str, **settings: Any) -> Swept:
    return Swept(name, "masked words", task, **settings)


def _translation(name: str, task: str, **settings: Any) -> Swept:
    sizes = {**of.ENCODER_DECODER, **settings.pop("sizes", {})}
    return Swept(name, "translation", task, inputs="translation", sizes=sizes, **settings)


def _sequences(name: str, task: str, **settings: Any) -> Swept:
    return Swept(name, "sequences", task, **{"inputs": "padded words", **settings})


def _images(name: str, task: str, **settings: Any) -> Swept:
    return Swept(name, "images", task, inputs="images", **settings)


def _sounds(name: str, task: str, **settings: Any) -> Swept:
    return Swept(name, "sounds", task, inputs="sounds", **settings)


def _timm(name: str, **settings: Any) -> FromTimm:
    return FromTimm(name, "images", name, inputs="timm images", final=lambda output: output, **settings)


def _pooled(name: str, task: str, **settings: Any) -> Swept:
    return Swept(name, "sequences", task, inputs="padded words", behind=POOLED, **settings)


POOLED: Final = "keeps one position of each sequence"
CAPPED: Final = "caps its logits"
SCALED: Final = "multiplies or divides its logits by a number"
SHIFTED: Final = "adds a bias that its head does not have"
AVERAGED: Final = "averages over positions or over two heads"
FIRST: Final = "keeps the first of two predictions of each position"
ENLARGED: Final = "enlarges the map of its logits"
CUT: Final = "drops the labels that are padding"
FUNCTIONAL: Final = "calls no head: its own code multiplies by the embedding"
SAYS: Final = {
    POOLED: "picks 8 of 48 outputs",
    CAPPED: "soft-caps",
    SCALED: "multiplies the logits by 0.25",
    SHIFTED: "adds a constant vector",
    AVERAGED: "averages the outputs of 2 heads|averages 48 outputs|pools 48 outputs|changes the logits",
    FIRST: "picks 32 of 64 outputs",
    ENLARGED: "returns logits of 8192 inputs, but the last call of the head had 512",
    CUT: "keeps the first 31 of 37 labels",
    FUNCTIONAL: "If another layer gives the probabilities|was not called during a whole window",
}
"""What the warning has to say."""
WITHOUT_REMEDY: Final = {FUNCTIONAL}
"""No setting of the monitor alone gives the overlaps of the final logits."""

LANGUAGE: Final = [
    _language("Llama", "LlamaForCausalLM"),
    _language("Mistral", "MistralForCausalLM"),
    _language("Mixtral", "MixtralForCausalLM", sizes={"num_local_experts": 2}),
    _language("Qwen 2", "Qwen2ForCausalLM"),
    _language("Qwen 3", "Qwen3ForCausalLM"),
    _language("Gemma", "GemmaForCausalLM"),
    _language("Gemma 3", "Gemma3ForCausalLM"),
    _language("Falcon", "FalconForCausalLM", sizes={"head_dim": ABSENT}),
    _language("Falcon-Mamba", "FalconMambaForCausalLM"),
    _language("GPT-2", "GPT2LMHeadModel"),
    _language("GPT-Neo", "GPTNeoForCausalLM", sizes={"attention_types": [[["global"], 1]]}),
    _language("GPT-NeoX", "GPTNeoXForCausalLM"),
    _language("GPT-J", "GPTJForCausalLM", sizes={"rotary_dim": 8}),
    _language("GPT-BigCode", "GPTBigCodeForCausalLM"),
    _language("CodeGen", "CodeGenForCausalLM", sizes={"rotary_dim": 4, "num_attention_heads": 4}),
    _language("OPT", "OPTForCausalLM", sizes={"word_embed_proj_dim": 16, "ffn_dim": 24}),
    _language("Bloom", "BloomForCausalLM"),
    _language("MPT", "MptForCausalLM", sizes={"logit_scale": 0.5}),  # a setting that no code of it reads
    _language("Phi", "PhiForCausalLM"),
    _language("Phi-3", "Phi3ForCausalLM"),
    _language("Cohere (scale 1)", "CohereForCausalLM", sizes={"logit_scale": 1.0}),
    _language("Granite (scale 1)", "GraniteForCausalLM"),
    _language("MiniCPM 3", "MiniCPM3ForCausalLM", sizes={"dim_model_base": 8, "q_lora_rank": 8, "kv_lora_rank": 8}),
    _language("StableLM", "StableLmForCausalLM"),
    _language("OLMo", "OlmoForCausalLM"),
    _language("OLMo 2", "Olmo2ForCausalLM"),
    _language("Nemotron", "NemotronForCausalLM"),
    _language("StarCoder 2", "Starcoder2ForCausalLM"),
    _language("BioGPT", "BioGptForCausalLM"),
    _language("XGLM", "XGLMForCausalLM", sizes={"ffn_dim": 24}),
    _language("CTRL", "CTRLLMHeadModel", sizes={"dff": 24}),
    _language("OpenAI GPT", "OpenAIGPTLMHeadModel"),
    _language("GLM", "GlmForCausalLM"),
    _language("Mamba", "MambaForCausalLM"),
    _language("Mamba 2", "Mamba2ForCausalLM", sizes={"num_heads": 4, "head_dim": 8, "n_groups": 2, "state_size": 8}),
    _language("RWKV", "RwkvForCausalLM", sizes={"num_hidden_layers": 2}),
    _language("Jamba", "JambaForCausalLM", sizes=of.JAMBA),
    _language("JetMoE", "JetMoeForCausalLM", sizes={"head_dim": ABSENT, **of.MOE, "kv_channels": 8}),
    _language("gpt-oss", "GptOssForCausalLM", sizes=of.MOE),
    _language("DeepSeek 3", "DeepseekV3ForCausalLM", sizes=of.DEEPSEEK),
    _language("SmolLM 3", "SmolLM3ForCausalLM"),
    _language("Helium", "HeliumForCausalLM"),
    Swept("GPT-2 with two heads", "language models", "GPT2DoubleHeadsModel", inputs="choices", sizes={"num_labels": 1}),
    # What is behind the head
    _language("Gemma 2", "Gemma2ForCausalLM", sizes={"final_logit_softcapping": of.CAP}, behind=CAPPED),
    _language("Gemma 3 with a cap", "Gemma3ForCausalLM", sizes={"final_logit_softcapping": of.CAP}, behind=CAPPED),
    _language("VaultGemma", "VaultGemmaForCausalLM", sizes={"final_logit_softcapping": of.CAP}, behind=CAPPED),
    _language("NanoChat", "NanoChatForCausalLM", sizes={"final_logit_softcapping": of.CAP}, behind=CAPPED),
    _language(
        "RecurrentGemma",
        "RecurrentGemmaForCausalLM",
        sizes={"logits_soft_cap": of.CAP, "block_types": ["attention"], "attention_window_size": 8},
        behind=CAPPED,
    ),
    _language("xLSTM", "xLSTMForCausalLM", sizes={**of.XLSTM, "output_logit_soft_cap": of.CAP}, behind=CAPPED),
    _language("Inkling 2", "Inkling2ForCausalLM", sizes={**of.INKLING, "final_logit_softcapping": of.CAP}, behind=CAPPED),
    _language("Cohere", "CohereForCausalLM", sizes={"logit_scale": SCALE}, behind=SCALED),
    _language("Cohere 2", "Cohere2ForCausalLM", sizes={"logit_scale": SCALE}, behind=SCALED),
    _language("Granite", "GraniteForCausalLM", sizes={"logits_scaling": 4.0}, behind=SCALED),
    _language("GraniteMoe", "GraniteMoeForCausalLM", sizes={"logits_scaling": 4.0, "num_local_experts": 2}, behind=SCALED),
    _language("HyperCLOVA X", "HyperCLOVAXForCausalLM", sizes={"logits_scaling": SCALE}, behind=SCALED),
    _language(
        "Falcon-H1",
        "FalconH1ForCausalLM",
        sizes={"lm_head_multiplier": SCALE, "mamba_d_ssm": 16, "mamba_n_heads": 2, "mamba_d_head": 8, "mamba_d_state": 8},
        behind=SCALED,
    ),
    _language("Inkling", "InklingForCausalLM", sizes={**of.INKLING, "unpadded_vocab_size": 31}, behind=CUT),
]
MASKED: Final = [
    _masked("BERT", "BertForMaskedLM"),
    _masked("RoBERTa", "RobertaForMaskedLM"),
    _masked("XLM-RoBERTa", "XLMRobertaForMaskedLM"),
    _masked("CamemBERT", "CamembertForMaskedLM"),
    _masked("DistilBERT", "DistilBertForMaskedLM", sizes={"hidden_dim": 24}),
    _masked("ALBERT", "AlbertForMaskedLM", sizes={"embedding_size": 8}),
    _masked("ELECTRA", "ElectraForMaskedLM", sizes={"embedding_size": 8}),
    _masked("DeBERTa", "DebertaForMaskedLM"),
    _masked("DeBERTa 2", "DebertaV2ForMaskedLM"),
    _masked("MPNet", "MPNetForMaskedLM"),
    _masked("ModernBERT", "ModernBertForMaskedLM"),
    _masked("RoFormer", "RoFormerForMaskedLM"),
    _masked("FNet", "FNetForMaskedLM"),
    _masked("SqueezeBERT", "SqueezeBertForMaskedLM", sizes={"embedding_size": 16}),
    _masked("ConvBERT", "ConvBertForMaskedLM", sizes={"embedding_size": 8}),
    _masked("XLM", "XLMWithLMHeadModel"),
    _masked("XLNet", "XLNetLMHeadModel", sizes=of.XLNET),
    _masked("Nyströmformer", "NystromformerForMaskedLM", sizes={"num_landmarks": 6, "segment_means_seq_len": 6}),
    _masked("LUKE", "LukeForMaskedLM", sizes={"entity_vocab_size": 23, "entity_emb_size": 8}),
    _masked("Longformer", "LongformerForMaskedLM", sizes={"attention_window": 4}),
    _masked("BigBird", "BigBirdForMaskedLM", sizes={"attention_type": "original_full"}),
    _masked("Reformer", "ReformerForMaskedLM", sizes=of.REFORMER),
    _masked("BERT with two heads", "BertForPreTraining", final=of_words),
    _masked("ESM", "EsmForMaskedLM", alter=biased_beside, behind=SHIFTED),
    _masked("DeBERTa (not legacy)", "DebertaForMaskedLM", sizes={"legacy": False}, alter=spread_words, behind=FUNCTIONAL),
    _masked(
        "MobileBERT",
        "MobileBertForMaskedLM",
        sizes={"embedding_size": 8, "true_hidden_size": 16, "intra_bottleneck_size": 16},
        behind=FUNCTIONAL,
    ),
]
TRANSLATION: Final = [
    _translation("T5", "T5ForConditionalGeneration", sizes=of.T5),
    _translation("mT5 (untied)", "MT5ForConditionalGeneration", sizes={**of.T5, "tie_word_embeddings": False}),
    _translation("UMT5", "UMT5ForConditionalGeneration", sizes=of.T5),
    _translation("BART (no bias learned)", "BartForConditionalGeneration"),
    _translation("M2M-100", "M2M100ForConditionalGeneration"),
    _translation(
        "FSMT", "FSMTForConditionalGeneration", sizes={"langs": ["en", "de"], "src_vocab_size": 37, "tgt_vocab_size": 37}
    ),
    Swept("Whisper", "translation", "WhisperForConditionalGeneration", inputs="transcription", sizes=of.WHISPER),
    Swept(
        "Speech2Text", "translation", "Speech2TextForConditionalGeneration", inputs="transposed transcription", sizes=of.SPEECH
    ),
    Swept(
        "T5Gemma",
        "translation",
        "T5GemmaForConditionalGeneration",
        inputs="translation",
        sizes={"encoder": of.GEMMA, "decoder": of.GEMMA, "vocab_size": NUM_WORDS, "pad_token_id": 0},
        behind=CAPPED,
    ),
    _translation("BART", "BartForConditionalGeneration", alter=biased, behind=SHIFTED),
    _translation("mBART", "MBartForConditionalGeneration", alter=biased, behind=SHIFTED),
    _translation("Marian", "MarianMTModel", alter=biased, behind=SHIFTED),
    _translation("Pegasus", "PegasusForConditionalGeneration", alter=biased, behind=SHIFTED),
    _translation("Blenderbot", "BlenderbotForConditionalGeneration", alter=biased, behind=SHIFTED),
    _translation(
        "LED",
        "LEDForConditionalGeneration",
        sizes={"attention_window": 4, "max_encoder_position_embeddings": 32, "max_decoder_position_embeddings": 32},
        alter=biased,
        behind=SHIFTED,
    ),
    Swept(
        "ProphetNet",
        "translation",
        "ProphetNetForConditionalGeneration",
        inputs="translation",
        sizes=of.PROPHETNET,
        behind=FIRST,
    ),
]
SEQUENCES: Final = [
    _sequences("BERT", "BertForSequenceClassification"),
    _sequences("RoBERTa", "RobertaForSequenceClassification"),
    _sequences("DistilBERT", "DistilBertForSequenceClassification", sizes={"hidden_dim": 24}),
    _sequences("ALBERT", "AlbertForSequenceClassification", sizes={"embedding_size": 8}),
    _sequences("ELECTRA", "ElectraForSequenceClassification", sizes={"embedding_size": 8}),
    _sequences("DeBERTa", "DebertaForSequenceClassification"),
    _sequences("SqueezeBERT", "SqueezeBertForSequenceClassification", sizes={"embedding_size": 16}),
    _sequences("XLNet", "XLNetForSequenceClassification", sizes=of.XLNET),
    _sequences("ModernBERT", "ModernBertForSequenceClassification"),
    _sequences("BART", "BartForSequenceClassification", inputs="ended words", sizes=of.ENCODER_DECODER),
    _sequences("T5", "T5ForSequenceClassification", inputs="ended words", sizes=of.T5),
    _sequences("Funnel", "FunnelForSequenceClassification", sizes=of.FUNNEL),
    _sequences("CANINE", "CanineForSequenceClassification", inputs="words", sizes=of.CANINE),
    _pooled("Llama", "LlamaForSequenceClassification", sizes=of.GROUPED),
    _pooled("Mistral", "MistralForSequenceClassification", sizes=of.GROUPED),
    _pooled("Qwen 2", "Qwen2ForSequenceClassification", sizes=of.GROUPED),
    _pooled("Gemma 2", "Gemma2ForSequenceClassification", sizes={**of.GROUPED, "final_logit_softcapping": of.CAP}),
    _pooled("Phi-3", "Phi3ForSequenceClassification", sizes=of.GROUPED),
    _pooled("StableLM", "StableLmForSequenceClassification", sizes=of.GROUPED),
    _pooled("GPT-2", "GPT2ForSequenceClassification"),
    _pooled("GPT-NeoX", "GPTNeoXForSequenceClassification"),
    _pooled("OPT", "OPTForSequenceClassification", sizes={"word_embed_proj_dim": 16, "ffn_dim": 24}),
    _pooled("Bloom", "BloomForSequenceClassification"),
    _pooled("Falcon", "FalconForSequenceClassification"),
    _pooled("MPT", "MptForSequenceClassification"),
    Swept("EuroBERT", "sequences", "EuroBertForSequenceClassification", inputs="padded words", behind=AVERAGED),
]
TOKENS: Final = [
    Swept("BERT", "tokens", "BertForTokenClassification"),
    Swept("Llama", "tokens", "LlamaForTokenClassification", sizes=of.GROUPED),
    Swept("Bloom", "tokens", "BloomForTokenClassification"),
    Swept("LayoutLM", "tokens", "LayoutLMForTokenClassification", sizes={"max_2d_position_embeddings": 32}),
    Swept("Gemma 2", "tokens", "Gemma2ForTokenClassification", sizes={**of.GROUPED, "final_logit_softcapping": of.CAP}),
    Swept("BERT", "answers", "BertForQuestionAnswering", final=start_and_end),
    Swept("DistilBERT", "answers", "DistilBertForQuestionAnswering", sizes={"hidden_dim": 24}, final=start_and_end),
]
IMAGES: Final = [
    _images("ViT", "ViTForImageClassification", sizes=of.VIT),
    _images("DeiT", "DeiTForImageClassification", sizes=of.VIT),
    _images("BEiT", "BeitForImageClassification", sizes=of.VIT),
    _images("DINOv2", "Dinov2ForImageClassification", sizes=of.VIT),
    _images("Swin", "SwinForImageClassification", sizes=of.SWIN),
    _images("Swin 2", "Swinv2ForImageClassification", sizes=of.SWIN),
    _images("ConvNeXt", "ConvNextForImageClassification", sizes={"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}),
    _images("ResNet", "ResNetForImageClassification", sizes=of.RESNET),
    _images("RegNet", "RegNetForImageClassification", sizes={**of.RESNET, "groups_width": 4}),
    _images("BiT", "BitForImageClassification", sizes={**of.RESNET, "num_groups": 2}),
    _images("PoolFormer", "PoolFormerForImageClassification", sizes=of.POOLFORMER),
    _images(
        "MobileNet 1",
        "MobileNetV1ForImageClassification",
        sizes={"image_size": 32, "depth_multiplier": 0.25, "initializer_range": 0.3},
    ),
    _images(
        "MobileNet 2",
        "MobileNetV2ForImageClassification",
        sizes={"image_size": 32, "depth_multiplier": 0.25, "initializer_range": 0.3},
    ),
    _images("EfficientNet", "EfficientNetForImageClassification", sizes=of.EFFICIENT),
    _images("MobileViT", "MobileViTForImageClassification", sizes=of.MOBILEVIT),
    _images("LeViT", "LevitForImageClassification", sizes=of.LEVIT, settings={"head": "net.classifier.linear"}),
    _images("SegFormer", "SegformerForImageClassification", sizes=of.SEGFORMER),
    _images("CLIP", "CLIPForImageClassification", sizes={"vision_config": of.VIT}),
    _images("SigLIP", "SiglipForImageClassification", sizes={"vision_config": of.VIT}),
    _images("PVT", "PvtForImageClassification", sizes={**of.PVT, "image_size": 32}),
    _images("FocalNet", "FocalNetForImageClassification", sizes=of.FOCAL),
    Swept("VideoMAE", "images", "VideoMAEForVideoClassification", inputs="videos", sizes=of.VIDEO),
    Swept("TimeSformer", "images", "TimesformerForVideoClassification", inputs="videos", sizes={**of.VIT, "num_frames": 2}),
    _images("SegFormer (every pixel)", "SegformerForSemanticSegmentation", sizes=of.SEGFORMER, axis=1),
    _images("MobileViT (every pixel)", "MobileViTForSemanticSegmentation", sizes=of.MOBILEVIT, axis=1),
    _images(
        "DeiT with a teacher",
        "DeiTForImageClassificationWithTeacher",
        sizes=of.VIT,
        settings={"head": "net.cls_classifier"},
        behind=AVERAGED,
    ),
    _images(
        "LeViT with a teacher",
        "LevitForImageClassificationWithTeacher",
        sizes=of.LEVIT,
        settings={"head": "net.classifier.linear"},
        behind=AVERAGED,
    ),
    _images(
        "SwiftFormer",
        "SwiftFormerForImageClassification",
        sizes={"image_size": 32, "depths": [1, 1, 1, 1], "embed_dims": [8, 8, 16, 16]},
        settings={"head": "net.head"},
        behind=AVERAGED,
    ),
    _images(
        "UPerNet (every pixel)",
        "UperNetForSemanticSegmentation",
        sizes={"backbone_config": of.backbone, "hidden_size": 16, "auxiliary_channels": 8, "auxiliary_in_channels": 16},
        axis=1,
        settings={"head": "net.decode_head.classifier", "schedule": Schedule(max_inputs_per_batch=8 * 32 * 32)},
        behind=ENLARGED,
    ),
]
SOUNDS: Final = [
    _sounds("Wav2Vec 2 (CTC)", "Wav2Vec2ForCTC", sizes={**of.WAVES, "vocab_size": NUM_LABELS}),
    _sounds("HuBERT (CTC)", "HubertForCTC", sizes={**of.WAVES, "vocab_size": NUM_LABELS}),
    _sounds("SEW (CTC)", "SEWForCTC", sizes={**of.WAVES, "vocab_size": NUM_LABELS, "squeeze_factor": 1}),
    _sounds("Data2Vec (CTC)", "Data2VecAudioForCTC", sizes={**of.WAVES, "vocab_size": NUM_LABELS, "conv_pos_kernel_size": 3}),
    _sounds("UniSpeech", "UniSpeechForSequenceClassification", sizes=of.WAVES),
    _sounds("Wav2Vec 2", "Wav2Vec2ForSequenceClassification", sizes=of.WAVES),
    _sounds("HuBERT", "HubertForSequenceClassification", sizes=of.WAVES),
    _sounds("WavLM", "WavLMForSequenceClassification", sizes=of.WAVES),
    Swept("Audio Spectrogram Transformer", "sounds", "ASTForAudioClassification", inputs="spectra", sizes=of.AST),
]
SWEEP: Final = [*LANGUAGE, *MASKED, *TRANSLATION, *SEQUENCES, *TOKENS, *IMAGES, *SOUNDS]
TIMM: Final = [
    _timm("resnet10t"),
    _timm("regnetx_002"),
    _timm("densenet121", sizes={"block_config": (1, 1), "growth_rate": 8}),
    _timm("convnext_atto"),
    _timm("efficientnet_lite0"),
    _timm("mobilenetv3_small_050"),
    _timm("mobilevit_xxs"),
    _timm("vit_tiny_patch16_224", sizes=of.TIMM_VIT),
    _timm("beit_base_patch16_224", sizes={**of.TIMM_VIT, "embed_dim": 16, "num_heads": 2}),
    _timm("swin_tiny_patch4_window7_224", sizes=of.TIMM_SWIN),
    _timm("deit_tiny_distilled_patch16_224", sizes=of.TIMM_VIT, settings={"head": "net.head"}, behind=AVERAGED),
]
"""Models of timm. The table does not list them: where timm is not installed, they are skipped."""

"""Sizes of the small models of the sweep, by the names of their configurations."""

from typing import Any, Final

from tests.compatibility.swept import ABSENT, NUM_WORDS, TEXT

CAP: Final = 3.0
"""Far below the largest logits."""
GROUPED: Final[dict[str, Any]] = {"num_key_value_heads": 2, "head_dim": 8}
ENCODER_DECODER: Final[dict[str, Any]] = {
    "vocab_size": NUM_WORDS,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": 2,
}
T5: Final[dict[str, Any]] = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
XLSTM: Final[dict[str, Any]] = {"hidden_size": 128, "head_dim": ABSENT, "num_heads": 2}
PROPHETNET: Final[dict[str, Any]] = {
    "vocab_size": NUM_WORDS,
    "hidden_size": 16,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
    "num_encoder_attention_heads": 2,
    "num_decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 32,
}
JAMBA: Final[dict[str, Any]] = {
    "num_hidden_layers": 2,
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "num_experts": 2,
    "mamba_d_state": 4,
    "use_mamba_kernels": False,
}
MOE: Final[dict[str, Any]] = {"num_local_experts": 2, "num_experts_per_tok": 1}
DEEPSEEK: Final[dict[str, Any]] = {
    "head_dim": ABSENT,
    "num_key_value_heads": ABSENT,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 0,
    "moe_intermediate_size": 8,
}
INKLING: Final[dict[str, Any]] = {
    "unpadded_vocab_size": NUM_WORDS,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
    "swa_num_attention_heads": 2,
    "swa_num_key_value_heads": 2,
    "swa_head_dim": 8,
    "logits_mup_width_multiplier": 2.0,
}
REFORMER: Final[dict[str, Any]] = {
    "attn_layers": ["local"],
    "is_decoder": False,
    "axial_pos_embds": False,
    "attention_head_size": 8,
    "feed_forward_size": 24,
    "local_attn_chunk_length": 6,
}
FUNNEL: Final[dict[str, Any]] = {
    "num_hidden_layers": ABSENT,
    "block_sizes": [1, 1],
    "num_decoder_layers": 1,
    "d_model": 16,
    "n_head": 2,
    "d_head": 8,
    "d_inner": 24,
}
CANINE: Final[dict[str, Any]] = {"num_hash_buckets": 37, "downsampling_rate": 2, "local_transformer_stride": 4}
GEMMA: Final[dict[str, Any]] = {**TEXT, **GROUPED, "final_logit_softcapping": CAP}
XLNET: Final[dict[str, Any]] = {"max_position_embeddings": ABSENT, "d_inner": 24, "d_head": 8}
VIT: Final[dict[str, Any]] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
VIDEO: Final[dict[str, Any]] = {**VIT, "num_frames": 2, "tubelet_size": 1, "decoder_num_hidden_layers": 1}
PVT: Final[dict[str, Any]] = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 8, 16, 16],
    "num_attention_heads": [1, 1, 2, 2],
    "mlp_ratios": [1, 1, 1, 1],
}
FOCAL: Final[dict[str, Any]] = {
    "image_size": 32,
    "embed_dim": 8,
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
    "focal_levels": [1, 1],
    "focal_windows": [3, 3],
}
WHISPER: Final[dict[str, Any]] = {
    **ENCODER_DECODER,
    "num_mel_bins": 16,
    "max_source_positions": 12,
    "max_target_positions": 12,
}
SPEECH: Final[dict[str, Any]] = {
    **ENCODER_DECODER,
    "input_feat_per_channel": 16,
    "conv_channels": 16,
    "max_source_positions": 64,
    "max_target_positions": 16,
}
SWIN: Final[dict[str, Any]] = {"image_size": 32, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}
RESNET: Final[dict[str, Any]] = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
POOLFORMER: Final[dict[str, Any]] = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16]}
EFFICIENT: Final[dict[str, Any]] = {
    "image_size": 32,
    "initializer_range": 0.3,
    "width_coefficient": 0.25,
    "depth_coefficient": 0.25,
    "hidden_dim": 320,
    "kernel_sizes": [3],
    "in_channels": [8],
    "out_channels": [16],
    "strides": [1],
    "num_block_repeats": [1],
    "expand_ratios": [1],
    "depthwise_padding": [],
}
MOBILEVIT: Final[dict[str, Any]] = {
    "image_size": 32,
    "initializer_range": 0.3,
    "hidden_sizes": [8, 12, 16],
    "neck_hidden_sizes": [8, 8, 8, 12, 16, 16, 16],
    "num_attention_heads": 2,
    "aspp_out_channels": 16,
    "atrous_rates": [1, 2, 3],
}
LEVIT: Final[dict[str, Any]] = {
    "image_size": 32,
    "hidden_sizes": [16, 16, 16],
    "num_attention_heads": [2, 2, 2],
    "depths": [1, 1, 1],
    "key_dim": [8, 8, 8],
    "mlp_ratio": [1, 1, 1],
    "attention_ratio": [1, 1, 1],
}
SEGFORMER: Final[dict[str, Any]] = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 8, 16, 16],
    "num_attention_heads": [1, 1, 2, 2],
    "decoder_hidden_size": 16,
    "mlp_ratios": [1, 1, 1, 1],
}
WAVES: Final[dict[str, Any]] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "conv_dim": [8, 8],
    "conv_kernel": [10, 4],
    "conv_stride": [10, 4],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 12,
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
    "pad_token_id": 0,
}
AST: Final[dict[str, Any]] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_length": 24,
    "num_mel_bins": 16,
    "patch_size": 8,
    "time_stride": 8,
    "frequency_stride": 8,
}


TIMM_VIT: Final[dict[str, Any]] = {"img_size": 32, "patch_size": 8, "depth": 1}
TIMM_SWIN: Final[dict[str, Any]] = {"img_size": 32, "window_size": 4, "depths": (1, 1), "num_heads": (2, 2), "embed_dim": 8}


def backbone() -> Any:
    from transformers import ConvNextConfig

    stages = {"num_stages": 4, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
    return ConvNextConfig(**stages, out_features=["stage1", "stage2", "stage3", "stage4"])

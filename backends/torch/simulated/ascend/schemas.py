"""Schemas of the vendor's operators, as in `npu_native_functions_by_codegen.yaml` of its wheel."""

from __future__ import annotations

NAMESPACE = "npu"
_TEXT = """
npu_convert_weight_to_int4pack(Tensor weight, int inner_k_tiles=0) -> Tensor

npu_weight_quant_batchmatmul(Tensor x, Tensor weight, Tensor antiquant_scale, Tensor?
    antiquant_offset=None, Tensor? quant_scale=None, Tensor? quant_offset=None, Tensor?
    bias=None, int antiquant_group_size=0, int inner_precise=0, int? weight_dtype=None) ->
    Tensor

npu_dynamic_quant(Tensor input, *, Tensor? smooth_scales=None, Tensor? group_index=None, int?
    dst_type=None, str quant_mode="pertoken", float dst_type_max=0.0) -> (Tensor, Tensor)

npu_quantize(Tensor self, Tensor scales, Tensor? zero_points, int dtype, int axis=1, bool
    div_mode=True) -> Tensor

npu_quant_matmul(Tensor x1, Tensor x2, Tensor scale, *, Tensor? offset=None, Tensor?
    pertoken_scale=None, Tensor? bias=None, int? output_dtype=None, int? x1_dtype=None, int?
    x2_dtype=None, int? pertoken_scale_dtype=None, int? scale_dtype=None, int[]?
    group_sizes=None, Tensor? y_scale=None) -> Tensor

npu_grouped_matmul(Tensor[] x, Tensor[] weight, *, Tensor[]? bias=None, Tensor[]? scale=None,
    Tensor[]? offset=None, Tensor[]? antiquant_scale=None, Tensor[]? antiquant_offset=None,
    Tensor[]? per_token_scale=None, Tensor? group_list=None, Tensor[]? activation_input=None,
    Tensor[]? activation_quant_scale=None, Tensor[]? activation_quant_offset=None, int?
    split_item=0, int? group_type=None, int? group_list_type=0, int? act_type=0, int[]?
    tuning_config=None, int? output_dtype=None, int? x_dtype=None, int? weight_dtype=None, int?
    scale_dtype=None, int? per_token_scale_dtype=None) -> Tensor[]

npu_rms_norm(Tensor self, Tensor gamma, float epsilon=1e-06) -> (Tensor, Tensor)

npu_rotary_mul(Tensor self, Tensor r1, Tensor r2, str rotary_mode='half', Tensor? rotate=None)
    -> Tensor

npu_swiglu(Tensor self, int dim=-1) -> Tensor

npu_fused_infer_attention_score(Tensor query, Tensor key, Tensor value, *, Tensor?
    pse_shift=None, Tensor? atten_mask=None, SymInt[]? actual_seq_lengths=None, SymInt[]?
    actual_seq_lengths_kv=None, Tensor? dequant_scale1=None, Tensor? quant_scale1=None, Tensor?
    dequant_scale2=None, Tensor? quant_scale2=None, Tensor? quant_offset2=None, Tensor?
    antiquant_scale=None, Tensor? antiquant_offset=None, Tensor? key_antiquant_scale=None,
    Tensor? key_antiquant_offset=None, Tensor? value_antiquant_scale=None, Tensor?
    value_antiquant_offset=None, Tensor? block_table=None, Tensor? query_padding_size=None,
    Tensor? kv_padding_size=None, Tensor? key_shared_prefix=None, Tensor?
    value_shared_prefix=None, SymInt[]? actual_shared_prefix_len=None, Tensor? query_rope=None,
    Tensor? key_rope=None, Tensor? key_rope_antiquant_scale=None, int num_heads=1, float
    scale=1.0, int pre_tokens=2147483647, int next_tokens=2147483647, str input_layout="BSH",
    int num_key_value_heads=0, int sparse_mode=0, int inner_precise=0, int block_size=0, int
    antiquant_mode=0, int key_antiquant_mode=0, int value_antiquant_mode=0, bool
    softmax_lse_flag=False) -> (Tensor, Tensor)
"""
SCHEMAS = tuple(" ".join(schema.split()) for schema in _TEXT.split("\n\n"))

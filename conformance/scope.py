"""Entries without a counterpart and differences on purpose, with the reasons."""

import re

# Entries without a counterpart, by reason.
OUT_OF_SCOPE = {
    "complex numbers, which Dendra does not have": """
        conj conj_physical resolve_conj resolve_neg view_as_real view_as_complex complex real imag
        angle polar isreal H mH cdouble cfloat chalf fft\\.i?hfft.* linalg\\.eig linalg\\.eigvals
        nn\\.functional\\.silu\\.complex linalg\\.polar
    """,
    "random numbers, which differ between libraries": """
        cauchy exponential geometric log_normal normal normal\\..* uniform randn randn_like
        rand_like randint randint_like multinomial bernoulli
        nn\\.functional\\.feature_alpha_dropout.*
        svd_lowrank pca_lowrank nn\\.FractionalMaxPool.d nn\\.functional\\.fractional_max_pool.d
    """,
    "uninitialised memory, or views of memory by strides": """
        empty empty_like new_empty new_empty_strided empty_strided empty_permuted as_strided.*
        resize_ resize_as_
    """,
    "sparse tensors": "sparse\\..* to_sparse optim\\.SparseAdam",
    "element types, which are Rust types: see `cast`": """
        bfloat16 bool byte char double float half int long short to new_zeros new_ones new_full
        view_as_type
    """,
    "half precision and quantisation": "torch\\._scaled_mm.*",
    "tensors with a mask of their own": "masked\\..*",
    "internal functions of PyTorch, or a second name for a function": """
        .*_copy _softmax_backward_data native_.* _native_.* _batch_norm_with_update
        max_pool2d_with_indices_backward torch\\.ops\\.aten\\..* grid_sampler_.d _segment_reduce.*
        _chunk_cat _unsafe_.* jiterator_.* hash_tensor nonzero_static bmm\\.triton_optimized
        _upsample_bilinear2d_aa item broadcast_shapes nn\\.functional\\.linear_cross_entropy.*
        nn\\.LinearCrossEntropyLoss nn\\.functional\\.batch_norm\\.without_cudnn __getitem__\\..*
        sum_to_size nn\\.functional\\.multi_head_attention_forward
        linalg\\..*_ex addmm\\.decomposed nn\\.Lazy.* gradient
    """,
    "special functions that networks do not use": """
        i0 igamma igammac mvlgamma.* polygamma\\..* special\\..*
        frexp ldexp nextafter
    """,
    "parts of LAPACK's algorithms": """
        geqrf ormqr lu lu_solve lu_unpack linalg\\.lu.* linalg\\.ldl.* linalg\\.householder_product
        linalg\\.matrix_sqrth triangular_solve linalg\\.pinv\\.hermitian
    """,
}

# Samples that differ on purpose: the entry, the kind and message of the finding, and the reason.
ON_PURPOSE = [
    (
        ".*",
        "not expressible",
        "random numbers",
        "Random numbers are drawn by another generator.",
    ),
    (
        ".*",
        "not expressible",
        r"numbers of different types|argument dtype|a result of type",
        "The element type of a tensor is a Rust type, which a function cannot choose at run time.",
    ),
    (
        ".*norm",
        "refused",
        "epsilon must be",
        "A negative epsilon is refused: the root of what is less than 0 is NaN.",
    ),
    (
        ".*(cross_entropy|nll_loss|multi_margin_loss|CrossEntropyLoss|NLLLoss|MultiMarginLoss)",
        "refused",
        "class weights must be",
        "Negative class weights are refused: a model would learn wrong classes.",
    ),
    (
        ".*(soft_margin|margin_ranking|hinge_embedding|cosine_embedding|SoftMargin|MarginRanking"
        "|HingeEmbedding|CosineEmbedding).*",
        "refused",
        "targets must be|the target must lie",
        "A target outside the values that the loss is defined for is refused.",
    ),
    (
        ".*binary_cross_entropy.*|nn.BCE.*",
        "refused",
        "the target must lie",
        "A target outside the values that the loss is defined for is refused.",
    ),
    (
        "optim.Muon",
        "wrong",
        "",
        "PyTorch's Muon orthogonalises in bfloat16; Dendra's in the precision of the parameters.",
    ),
    (
        "optim.Muon|optim.LBFGS",
        "not expressible",
        "spectral_unclamped|maximize",
        "An option of one optimizer that only PyTorch has.",
    ),
    (
        "nn.functional.grid_sample",
        "refused",
        "Bicubic is for images",
        "Cubic convolution is for images, not for volumes.",
    ),
    (
        "fft.*2",
        "not expressible",
        "dim = ",
        "A transform along two axes takes two axes.",
    ),
    (
        "fft.*2",
        "refused",
        "named twice",
        "A transform along two axes takes two axes.",
    ),
    (
        "cholesky_solve|cholesky_inverse",
        "wrong",
        "gradient",
        "Only the triangle of a factor that is read has a gradient.",
    ),
    (
        "tensordot",
        "refused",
        "differ in length|axes",
        "PyTorch sums an axis of length 1 against a longer one; Dendra requires equal lengths.",
    ),
    (
        "gather",
        "refused",
        "an index of shape",
        "An index without elements must have as many axes as the tensor, like any other.",
    ),
    (
        "cat",
        "refused",
        "",
        "PyTorch ignores vectors without elements among tensors of more axes.",
    ),
    (
        ".*avg_pool.d",
        "not expressible",
        "divisor_override",
        "A divisor is a number of elements and cannot be negative.",
    ),
    (
        "nn.functional.batch_norm",
        "refused",
        r"got \[0\]",
        "A batch has an axis of samples and one of channels, also when it is empty.",
    ),
]


def reason(entry):
    """The reason why an entry has no counterpart; None when it should have one."""
    for why, names in OUT_OF_SCOPE.items():
        if any(re.fullmatch(name, entry) for name in names.split()):
            return why
    return None


def purpose(entry, kind, message):
    """The reason why a sample differs on purpose; None when it does not."""
    for names, kinds, text, why in ON_PURPOSE:
        if re.fullmatch(names, entry) and kind == kinds and re.search(text, message):
            return why
    return None

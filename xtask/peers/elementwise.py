"""The operations that work element by element, as PyTorch calls them, with the settings and the
ranges of inputs that Dendra's benchmarks take: the range, then the function. The range is that of
all inputs.
"""

import torch
import torch.nn.functional as F

ROWS = {
    "relu": (-2, 2, torch.relu),
    "leaky_relu": (-2, 2, lambda x: F.leaky_relu(x, 0.1)),
    "elu": (-2, 2, lambda x: F.elu(x, 1.3)),
    "gelu": (-2, 2, F.gelu),
    "gelu_tanh": (-2, 2, lambda x: F.gelu(x, approximate="tanh")),
    "silu": (-2, 2, F.silu),
    "softplus": (-2, 2, F.softplus),
    "softplus_scaled": (-1, 1, lambda x: F.softplus(x, 1.5, 2.0)),
    "sigmoid": (-2, 2, torch.sigmoid),
    "log_sigmoid": (-2, 2, F.logsigmoid),
    "hardswish": (-4, 4, F.hardswish),
    "hardsigmoid": (-4, 4, F.hardsigmoid),
    "hardtanh": (-2, 2, lambda x: F.hardtanh(x, -0.8, 0.9)),
    "hardshrink": (-2, 2, lambda x: F.hardshrink(x, 0.4)),
    "softshrink": (-2, 2, lambda x: F.softshrink(x, 0.4)),
    "tanhshrink": (-2, 2, F.tanhshrink),
    "softsign": (-2, 2, F.softsign),
    "celu": (-2, 2, lambda x: F.celu(x, 1.3)),
    "selu": (-2, 2, F.selu),
    "mish": (-2, 2, F.mish),
    "threshold": (-2, 2, lambda x: F.threshold(x, 0.4, -1.5)),
    "tanh": (-2, 2, torch.tanh),
    "exp": (-2, 2, torch.exp),
    "exp_m1": (-2, 2, torch.expm1),
    "exp2": (-2, 2, torch.exp2),
    "ln": (0.1, 2, torch.log),
    "ln_1p": (-0.5, 2, torch.log1p),
    "log2": (0.1, 2, torch.log2),
    "log10": (0.1, 2, torch.log10),
    "sqrt": (0.1, 2, torch.sqrt),
    "rsqrt": (0.1, 2, torch.rsqrt),
    "square": (-2, 2, torch.square),
    "reciprocal": (0.2, 2, torch.reciprocal),
    "abs": (-2, 2, torch.abs),
    "neg": (-2, 2, torch.neg),
    "sin": (-2, 2, torch.sin),
    "cos": (-2, 2, torch.cos),
    "tan": (-1, 1, torch.tan),
    "asin": (-0.9, 0.9, torch.asin),
    "acos": (-0.9, 0.9, torch.acos),
    "atan": (-2, 2, torch.atan),
    "sinh": (-2, 2, torch.sinh),
    "cosh": (-2, 2, torch.cosh),
    "asinh": (-2, 2, torch.asinh),
    "acosh": (1.2, 3, torch.acosh),
    "atanh": (-0.9, 0.9, torch.atanh),
    "sinc": (0.1, 2, torch.sinc),
    "erf": (-2, 2, torch.erf),
    "erfc": (-2, 2, torch.erfc),
    "erf_inv": (-0.95, 0.95, torch.erfinv),
    "lgamma": (0.3, 4, torch.lgamma),
    "digamma": (0.3, 4, torch.digamma),
    "sign": (0.1, 2, torch.sign),
    "floor": (0.1, 0.9, torch.floor),
    "ceil": (0.1, 0.9, torch.ceil),
    "round": (0.6, 1.4, torch.round),
    "trunc": (-0.9, 0.9, torch.trunc),
    "frac": (-0.9, 0.9, torch.frac),
    "nan_to_num": (-2, 2, lambda x: torch.nan_to_num(x, 0.5, 9.0, -9.0)),
    "powf": (0.2, 2, lambda x: torch.pow(x, 2.5)),
    "clamp": (-2, 2, lambda x: torch.clamp(x, -0.8, 0.9)),
    "logit": (0.1, 0.9, lambda x: torch.logit(x, 0.05)),
    "mul_scalar": (-2, 2, lambda x: x * -1.7),
    "add_scalar": (-2, 2, lambda x: x + 0.3),
    "add": (-2, 2, torch.add),
    "sub": (-2, 2, torch.sub),
    "mul": (-2, 2, torch.mul),
    "div": (0.5, 2, torch.div),
    "maximum": (-2, 2, torch.maximum),
    "minimum": (-2, 2, torch.minimum),
    "prelu": (-2, 2, lambda a, b: torch.where(a > 0, a, a * b)),
    "xlogy": (0.5, 2, torch.xlogy),
    "log_add_exp": (-2, 2, torch.logaddexp),
    "pow": (0.5, 2, torch.pow),
    "atan2": (0.5, 2, torch.atan2),
    "hypot": (0.5, 2, torch.hypot),
    "remainder": (1.3, 1.9, torch.remainder),
    "fmod": (1.3, 1.9, torch.fmod),
}

# Those of two inputs, which are so many at the end.
BINARY = list(ROWS)[-14:]


def call(name, shape):
    """A call of an operation, or of its gradient where the name says so."""
    name, gradient = name.removesuffix("_gradient"), name.endswith("_gradient")
    low, high, function = ROWS[name]
    inputs = [torch.rand(shape) * (high - low) + low for _ in range(1 + (name in BINARY))]
    if not gradient:
        return lambda: function(*inputs)
    with torch.enable_grad():
        inputs = [x.requires_grad_() for x in inputs]
        output = function(*inputs)
    cotangent = torch.randn(shape)
    return lambda: torch.autograd.grad(output, inputs, cotangent, retain_graph=True)

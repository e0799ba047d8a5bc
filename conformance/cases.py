"""Cases: samples of PyTorch's tables, with the results of PyTorch."""

import functools
import inspect
import itertools
import json
import math

import torch

# Arguments that do not influence the result, but where and how it is computed.
MEANS = {
    "device", "layout", "pin_memory", "requires_grad", "memory_format", "inplace", "out",
    "generator", "foreach", "fused", "capturable", "differentiable", "_stacklevel",
}  # fmt: skip


class Inexpressible(Exception):
    """Dendra does not support what a case asks for."""


class Case:
    """One call of an entry: its arguments, and what PyTorch returns."""

    def __init__(self, entry, dtype, about):
        self.entry, self.dtype, self.about = entry, dtype, about
        self.arguments, self.parameters, self.training = {}, {}, True
        # Names and parameters of a module, beside the arguments that want a gradient.
        self.trained = []
        self.tensors, self.asked = [], []
        self.outputs, self.gradients, self.buffers, self.cotangents = [], {}, {}, []
        self.again = None

    def put(self, tensor, asked=None):
        """Adds a tensor, for the leaf that needs a gradient, and returns its number."""
        tensor = tensor.detach()
        if tensor.is_complex():
            raise Inexpressible("complex numbers")
        if tensor.is_sparse or tensor.layout != torch.strided:
            raise Inexpressible("a sparse tensor")
        if tensor.is_floating_point():
            if tensor.dtype != self.dtype:
                raise Inexpressible("numbers of different types in one function")
        elif tensor.dtype != torch.bool:
            tensor = tensor.to(torch.int64)
        self.tensors.append(tensor)
        self.asked.append(asked)
        return len(self.tensors) - 1

    def encoded(self, value, constant=False):
        """A value as JSON; one that is a constant for Dendra gets no gradient."""
        if isinstance(value, torch.Tensor):
            asked = value if value.requires_grad and not constant else None
            return {"tensor": self.put(value, asked)}
        if isinstance(value, complex):
            raise Inexpressible("complex numbers")
        if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, (list, tuple)):
            return [self.encoded(item, constant) for item in value]
        if isinstance(value, slice):
            return {"slice": [value.start, value.stop, value.step]}
        if value is Ellipsis:
            return {"ellipsis": True}
        if isinstance(value, torch.dtype):
            return {"dtype": str(value).removeprefix("torch.")}
        if isinstance(value, torch.nn.TransformerEncoderLayer):
            return layer_settings(value)
        if callable(value):
            return {"callable": getattr(value, "__name__", type(value).__name__)}
        raise Inexpressible(f"a {type(value).__name__}")

    def bind(self, row, given, defaults):
        """Stores the arguments under the names of the parameters of Dendra's row."""
        for name, value in given.items():
            if name in row.names:
                self.arguments[name] = self.encoded(value, name in row.constants)
            elif name in MEANS or value is None:
                continue
            elif name == "dtype" and value == self.dtype:
                continue
            elif name in defaults and same(value, defaults[name]):
                continue
            else:
                raise Inexpressible(f"the argument {name} = {described(value)}")
        for name in row.required:
            if name not in self.arguments and name not in self.parameters:
                raise Inexpressible(f"a call without {name}")

    def written(self, strided):
        """The case in the format of the runner."""
        about = [
            {
                "type": str(x.dtype).removeprefix("torch."),
                "shape": list(x.shape),
                "grad": asked is not None,
            }
            for x, asked in zip(self.tensors, self.asked)
        ]
        header = {
            "entry": self.entry,
            "dtype": str(self.dtype).removeprefix("torch."),
            "arguments": self.arguments,
            "parameters": self.parameters,
            "training": self.training,
            "cotangents": self.cotangents,
            "tensors": about,
            "strided": strided,
        }
        line = json.dumps(header, allow_nan=False) + "\n"
        return line.encode() + b"".join(bytes_of(x) for x in self.tensors)


def layer_settings(layer):
    """The arguments with which a layer of an encoder was made."""
    return {
        "d_model": layer.self_attn.embed_dim,
        "nhead": layer.self_attn.num_heads,
        "dim_feedforward": layer.linear1.out_features,
        "dropout": layer.dropout.p,
        "activation": layer.activation.__name__,
        "layer_norm_eps": layer.norm1.eps,
        "batch_first": layer.self_attn.batch_first,
        "norm_first": layer.norm_first,
        "bias": layer.linear1.bias is not None,
    }


def bytes_of(tensor):
    return tensor.contiguous().numpy().tobytes()


def same(value, default):
    if isinstance(value, torch.Tensor):
        return False
    return type(value) is type(default) and value == default


def described(value):
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {list(value.shape)}"
    text = repr(value).replace("\n", " ")
    return text if len(text) < 60 else text[:57] + "..."


def leaves(value):
    """The value with a new leaf for every tensor."""
    return changed(value, lambda x: x.detach().clone().requires_grad_(x.requires_grad))


def upcast(value):
    """The value converted to double precision."""
    return changed(
        value,
        lambda x: x.detach().double().requires_grad_(x.requires_grad)
        if x.dtype == torch.float32
        else x,
    )


def changed(value, change):
    """The value with every tensor changed."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        items = [changed(item, change) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, dict):
        return {name: changed(item, change) for name, item in value.items()}
    return value


def flattened(result):
    """The outputs as a list of tensors."""
    if isinstance(result, torch.Tensor):
        # For Dendra complex numbers are an axis of length 2.
        return [torch.view_as_real(result) if result.is_complex() else result]
    if isinstance(result, (bool, int, float)):
        return [torch.tensor(result)]
    if isinstance(result, (list, tuple)):
        return list(itertools.chain.from_iterable(flattened(item) for item in result))
    if result is None:
        return []
    raise Inexpressible(f"a result of type {type(result).__name__}")


def differentiated(case, outputs):
    """Fills in the outputs, and the gradients from random cotangents."""
    case.outputs = [y.detach() for y in outputs]
    generator = torch.Generator().manual_seed(len(outputs))
    used, cotangents = [], []
    for y in outputs:
        if not (y.requires_grad and y.is_floating_point()):
            case.cotangents.append(None)
            continue
        # The same in single and double precision.
        cotangent = torch.randn(y.shape, generator=generator).to(y.dtype)
        if y.dtype != case.dtype:
            raise Inexpressible(f"a result of type {y.dtype}")
        case.cotangents.append(case.put(cotangent))
        used.append(y)
        cotangents.append(cotangent)
    wanted = [(i, leaf) for i, leaf in enumerate(case.asked) if leaf is not None]
    wanted += case.trained
    if not used or not wanted:
        return
    leaves = [leaf for _, leaf in wanted]
    gradients = torch.autograd.grad(used, leaves, cotangents, allow_unused=True)
    for (name, leaf), gradient in zip(wanted, gradients):
        case.gradients[name] = torch.zeros_like(leaf) if gradient is None else gradient


def run_operation(case, row, function, sample_input, args, kwargs):
    """Calls PyTorch's function and describes the call to Dendra."""
    sample_input, args, kwargs = leaves((sample_input, list(args), dict(kwargs)))
    given = dict(kwargs)
    if isinstance(function, functools.partial):
        given = {**function.keywords, **given}
    positional = [sample_input, *args]
    if case.entry == "__getitem__" and not isinstance(args[0], tuple):
        positional = [sample_input, (args[0],)]
    if row.parameters[:1] == ["tensors"] and not isinstance(sample_input, (list, tuple)):
        given["tensors"] = positional
    else:
        if len(positional) > len(row.parameters):
            raise Inexpressible(f"the arguments {[described(x) for x in args]}")
        given.update(zip(row.parameters, positional))
    for name in row.state & given.keys():
        # What is a function's argument here is a layer's parameter there.
        value = given.pop(name)
        case.parameters[name] = case.put(value)
        if value.requires_grad:
            case.trained.append((name, value))
    case.bind(row, given, defaults_of(function))
    if case.entry in ("linalg.eigh", "linalg.eigvalsh"):
        # PyTorch's gradient is that by symmetric matrices.
        sample_input = sample_input + sample_input.mT
    result = function(sample_input, *args, **kwargs)
    if case.entry == "linalg.eigh":
        # The sign of a vector is of no account.
        result = (result[0], result[1].abs())
    if case.entry == "linalg.lstsq.grad_oriented":
        result = result[0]
    differentiated(case, flattened(result))


def defaults_of(function):
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    return {n: p.default for n, p in parameters.items() if p.default is not p.empty}


def operations(rows, dtype, wants, limit):
    """Cases of op_db: pairs of an entry's name and a case, or the reason why there is none."""
    from torch.testing._internal.common_methods_invocations import op_db

    for op in op_db:
        name = f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name
        entry = name if name in rows else op.name
        if not wants(name):
            continue
        row = rows.get(entry)
        types = op.supported_dtypes("cpu")
        own = dtype if dtype in types else torch.int64 if torch.int64 in types else None
        if own is None and torch.bool in types:
            own = torch.bool
        if own != dtype and dtype == torch.float32:
            continue
        if row is None or own is None:
            yield name, None
            continue
        torch.manual_seed(0)
        with_gradient = op.supports_autograd and own == dtype
        try:
            samples = list(
                itertools.islice(
                    op.sample_inputs("cpu", own, requires_grad=with_gradient), limit
                )
            )
        except Exception as error:
            yield name, f"no samples: {error}"
            continue
        for sample in samples:
            about = f"{described_input(sample)}"
            case = Case(entry, dtype, about)
            try:
                run_operation(case, row, op.op, sample.input, sample.args, sample.kwargs)
            except Inexpressible as why:
                yield name, (case, str(why))
                continue
            except Exception:
                # Some samples are there to be refused.
                continue

            def again(sample=sample, entry=entry, op=op, row=row):
                double = Case(entry, torch.float64, "")
                arguments = upcast((sample.input, sample.args, sample.kwargs))
                run_operation(double, row, op.op, *arguments)
                return double

            if dtype == torch.float32:
                case.again = again
            yield name, case


def described_input(sample):
    parts = [brief(sample.input), *map(brief, sample.args)]
    parts += [f"{name}={brief(value)}" for name, value in sample.kwargs.items()]
    return ", ".join(parts)


def brief(value):
    if isinstance(value, torch.Tensor):
        return str(list(value.shape))
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(map(brief, value)) + ")"
    return described(value)

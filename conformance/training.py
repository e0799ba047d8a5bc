"""Cases of modules, optimizers and schedules."""

import inspect

import torch

from cases import Case, Inexpressible, brief, differentiated, flattened, leaves, upcast

STEPS = 8

# Inputs with another name in Dendra's rows than in PyTorch's `forward`.
RENAMED = {"nn.PoissonNLLLoss": {"log_input": "input"}, "nn.RMSNorm": {"x": "input"}}


def modules(rows, dtype, wants, limit):
    """Cases of module_db, in training and in evaluation."""
    from torch.testing._internal.common_modules import module_db

    for module in module_db:
        name = module.name
        if not wants(name):
            continue
        row = rows.get(name)
        if row is None:
            yield name, None
            continue
        for training in (True, False):
            if not training and not module.train_and_eval_differ:
                continue
            torch.manual_seed(0)
            inputs = module.module_inputs_func(
                module, device="cpu", dtype=dtype, requires_grad=True, training=training
            )
            for given in inputs[:limit]:
                case = Case(name, dtype, described(given, training))
                case.training = training
                try:
                    run_module(case, row, module.module_cls, given, training)
                except Inexpressible as why:
                    yield name, (case, str(why))
                    continue
                except Exception:
                    continue
                if dtype == torch.float32:
                    case.again = again(row, module.module_cls, given, case)
                yield name, case


def described(given, training):
    constructed = [*map(brief, given.constructor_input.args)]
    constructed += [f"{n}={brief(v)}" for n, v in given.constructor_input.kwargs.items()]
    called = [*map(brief, given.forward_input.args)]
    called += [f"{n}={brief(v)}" for n, v in given.forward_input.kwargs.items()]
    mode = "" if training else " in evaluation"
    return f"({', '.join(constructed)})({', '.join(called)}){mode}"


def run_module(case, row, kind, given, training, state=None):
    """Makes PyTorch's module, calls it and describes both to Dendra."""
    made, called = given.constructor_input, given.forward_input
    torch.manual_seed(1)
    module = kind(*made.args, **made.kwargs).to(case.dtype)
    if state is not None:
        module.load_state_dict(state)
    module.train(training)
    arguments, defaults = bound(kind.__init__, (module, *made.args), made.kwargs)
    args, kwargs = leaves((list(called.args), dict(called.kwargs)))
    inputs, of_forward = bound(module.forward, args, kwargs)
    renamed = RENAMED.get(case.entry, {})
    inputs = {renamed.get(name, name): value for name, value in inputs.items()}
    case.bind(row, {**arguments, **inputs}, {**defaults, **of_forward})
    case.state = {name: value.clone() for name, value in module.state_dict().items()}
    if row.family != "losses":
        case.parameters = {name: case.put(value) for name, value in case.state.items()}
    case.trained = list(module.named_parameters())
    outputs = flattened(module(*args, **kwargs))
    differentiated(case, outputs)
    if row.family != "losses":
        case.buffers = {name: value.clone() for name, value in module.named_buffers()}


def again(row, kind, given, single):
    """The same in double precision, from the same parameters."""

    class Doubled:
        constructor_input, forward_input = given.constructor_input, given.forward_input

    def run():
        double = Case(single.entry, torch.float64, "")
        doubled = Doubled()
        for part in ("constructor_input", "forward_input"):
            old = getattr(given, part)
            args, kwargs = upcast((list(old.args), dict(old.kwargs)))
            kwargs = {n: torch.float64 if v is torch.float32 else v for n, v in kwargs.items()}
            setattr(doubled, part, type(old)(*args, **kwargs))
        run_module(double, row, kind, doubled, single.training, upcast(single.state))
        return double

    return run


def bound(function, args, kwargs):
    """Arguments by name, and the defaults of those that have one."""
    parameters = inspect.signature(function).parameters
    defaults = {n: p.default for n, p in parameters.items() if p.default is not p.empty}
    names = [
        name
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return {k: v for k, v in {**dict(zip(names, args)), **kwargs}.items() if k != "self"}, defaults


def optimizers(rows, dtype, wants, limit):
    """Cases of optim_db: the parameters after each of some steps along random gradients."""
    from torch.testing._internal.common_optimizers import optim_db

    for info in optim_db:
        kind = info.optim_cls
        name = f"optim.{kind.__name__}"
        if not wants(name):
            continue
        if name not in rows:
            yield name, None
            continue
        for given in info.optim_inputs_func(device="cpu", dtype=dtype)[:limit]:
            settings = dict(given.kwargs)
            case = Case(name, dtype, ", ".join(f"{n}={brief(v)}" for n, v in settings.items()))
            try:
                settings = {
                    n: v.item() if isinstance(v, torch.Tensor) else v for n, v in settings.items()
                }
                case.bind(rows[name], settings, {"maximize": False})
                run = minimised if name == "optim.LBFGS" else descended
                run(case, kind, settings)
            except Inexpressible as why:
                yield name, (case, str(why))
                continue
            yield name, case


def descended(case, kind, settings):
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3)] if kind.__name__ == "Muon" else [(4, 3), (3,), ()]
    draw = lambda: [torch.randn(s, dtype=case.dtype, generator=generator) for s in shapes]
    start, steps = draw(), [draw() for _ in range(STEPS)]
    case.arguments["start"] = case.encoded(start)
    case.arguments["gradients"] = case.encoded(steps)
    parameters = [torch.nn.Parameter(value.clone()) for value in start]
    optimizer = kind(parameters, **settings)
    for step in steps:
        for parameter, gradient in zip(parameters, step):
            parameter.grad = gradient.clone()
        optimizer.step()
        case.outputs += [parameter.detach().clone() for parameter in parameters]


def minimised(case, kind, settings):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, dtype=case.dtype, generator=generator)
    matrix = torch.randn(6, 4, dtype=case.dtype, generator=generator)
    case.arguments["start"] = case.encoded([start, matrix])
    point = torch.nn.Parameter(start.clone())
    optimizer = kind([point], **settings)

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.softplus(matrix @ point).sum() + point.square().sum() / 2
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
        case.outputs.append(point.detach().clone())


# Constructors of schedules with settings that cover all of their branches.
SCHEDULES = {
    "ConstantLR": [{}, {"factor": 0.5, "total_iters": 3}],
    "CosineAnnealingLR": [{"T_max": 12}, {"T_max": 30, "eta_min": 0.01}],
    "CosineAnnealingWarmRestarts": [
        {"T_0": 5},
        {"T_0": 4, "T_mult": 2, "eta_min": 0.001},
    ],
    "CyclicLR": [
        {"max_lr": 0.5, "step_size_up": 5},
        {"max_lr": 0.5, "step_size_up": 4, "step_size_down": 7, "mode": "triangular2"},
        {"max_lr": 0.5, "step_size_up": 5, "mode": "exp_range", "gamma": 0.9},
    ],
    "ExponentialLR": [{"gamma": 0.9}, {"gamma": 1.1}],
    "LambdaLR": [{"lr_lambda": [0.95**epoch for epoch in range(30)]}],
    "LinearLR": [{}, {"start_factor": 0.1, "end_factor": 0.7, "total_iters": 9}],
    "MultiStepLR": [{"milestones": [3, 9]}, {"milestones": [2, 2, 7], "gamma": 0.5}],
    "MultiplicativeLR": [{"lr_lambda": [0.95] * 30}],
    "OneCycleLR": [
        {"total_steps": 30},
        {"total_steps": 30, "pct_start": 0.4, "anneal_strategy": "linear", "three_phase": True},
        {"total_steps": 30, "div_factor": 10.0, "final_div_factor": 100.0},
    ],
    "PolynomialLR": [{}, {"total_iters": 20, "power": 2.0}],
    "StepLR": [{"step_size": 3}, {"step_size": 7, "gamma": 0.5}],
    "SequentialLR": [{"milestones": [6]}],
    "ChainedScheduler": [{}],
    "ReduceLROnPlateau": [
        {"patience": 2},
        {"patience": 1, "factor": 0.5, "cooldown": 2, "min_lr": 0.02},
        {"patience": 1, "mode": "max", "threshold": 0.05, "threshold_mode": "abs"},
        {"patience": 0, "threshold": 0.1},
    ],
}


def schedules(rows, dtype, wants, limit):
    """The learning rates of thirty steps under every schedule."""
    base, steps = 0.1, 30
    for kind, settings in SCHEDULES.items():
        name = f"lr_scheduler.{kind}"
        if not wants(name):
            continue
        if name not in rows:
            yield name, None
            continue
        for given in settings[:limit]:
            case = Case(name, dtype, ", ".join(f"{n}={brief(v)}" for n, v in given.items()))
            case.bind(rows[name], given, {})
            case.arguments["base"] = base
            optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base, momentum=0.9)
            scheduler = scheduled(kind, optimizer, given)
            rates = []
            if kind == "ReduceLROnPlateau":
                generator = torch.Generator().manual_seed(2)
                noise = torch.rand(steps, generator=generator, dtype=torch.float64)
                figures = [1 / (1 + i) + noise[i].item() for i in range(steps)]
                case.arguments["figures"] = figures
                for figure in figures:
                    scheduler.step(figure)
                    rates.append(optimizer.param_groups[0]["lr"])
            else:
                case.arguments["steps"] = steps
                for step in range(steps):
                    rates.append(optimizer.param_groups[0]["lr"])
                    if step + 1 < steps:
                        optimizer.step()
                        scheduler.step()
            case.outputs = [torch.tensor(rates, dtype=torch.float64).to(dtype)]
            yield name, case


def scheduled(kind, optimizer, given):
    from torch.optim import lr_scheduler

    given = dict(given)
    if "lr_lambda" in given:
        factors = given["lr_lambda"]
        given["lr_lambda"] = lambda epoch: factors[epoch]
    if kind == "SequentialLR":
        parts = [
            lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=6),
            lr_scheduler.ExponentialLR(optimizer, gamma=0.9),
        ]
        return lr_scheduler.SequentialLR(optimizer, parts, **given)
    if kind == "ChainedScheduler":
        parts = [
            lr_scheduler.ConstantLR(optimizer, factor=0.1, total_iters=4),
            lr_scheduler.ExponentialLR(optimizer, gamma=0.9),
        ]
        return lr_scheduler.ChainedScheduler(parts)
    if kind == "CyclicLR":
        given = {"base_lr": 0.1, "cycle_momentum": False, **given}
    if kind == "OneCycleLR":
        given = {"max_lr": 0.1, "cycle_momentum": False, **given}
    return getattr(lr_scheduler, kind)(optimizer, **given)

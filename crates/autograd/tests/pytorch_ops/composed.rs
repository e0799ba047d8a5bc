//! Products, running results, norms and order, as the cases of the fixtures
//! call them.

use dendra_tensor::{Ops, Result};

use crate::fixtures::Case;

/// Applies a case's operation, if it is one of these.
pub(crate) fn apply<V: Ops>(case: &Case, inputs: &[V]) -> Option<Result<V>> {
    let axis = || case.integer("axis");
    let axes = || case.integers("axes");
    let keep = || case.flag("keep_dims");
    let size = |name| case.integer(name) as usize;
    let operands: Vec<&V> = inputs.iter().collect();
    Some(match (case.kind(), inputs) {
        ("einsum", _) => V::einsum(case.text("equation"), &operands),
        ("tensordot", [x, y]) => x.tensordot(y, &axes(), &case.integers("others")),
        ("kron", [x, y]) => x.kron(y),
        ("outer", [x, y]) => x.outer(y),
        ("dot", [x, y]) => x.dot(y),
        ("bmm", [x, y]) => x.bmm(y),
        ("mm", [x, y]) => x.mm(y),
        ("mv", [x, y]) => x.mv(y),
        ("addmm", [x, a, b]) => x.addmm(a, b, case.number("beta"), case.number("alpha")),
        ("addmv", [x, a, b]) => x.addmv(a, b, case.number("beta"), case.number("alpha")),
        ("addr", [x, a, b]) => x.addr(a, b, case.number("beta"), case.number("alpha")),
        ("baddbmm", [x, a, b]) => x.baddbmm(a, b, case.number("beta"), case.number("alpha")),
        ("addbmm", [x, a, b]) => x.addbmm(a, b, case.number("beta"), case.number("alpha")),
        ("vecdot", [x, y]) => x.vecdot(y, axis()),
        ("inner", [x, y]) => x.inner(y),
        ("matrix_power", [x]) => x.matrix_power(size("n")),
        ("dist", [x, y]) => x.dist(y, case.number("p")),
        ("trace", [x]) => x.trace(),
        ("cross", [x, y]) => x.cross(y, axis()),
        ("cdist", [x, y]) => x.cdist(y, case.number("p")),

        ("cumsum", [x]) => x.cumsum(axis()),
        ("cumprod", [x]) => x.cumprod(axis()),
        ("logcumsumexp", [x]) => x.logcumsumexp(axis()),
        ("cummax", [x]) => x.cummax(axis()).map(|(values, _)| values),
        ("cummin", [x]) => x.cummin(axis()).map(|(values, _)| values),
        ("sort", [x]) => x.sort(axis(), case.flag("descending")).map(|(values, _)| values),
        ("topk", [x]) => {
            x.topk(size("count"), axis(), case.flag("largest")).map(|(values, _)| values)
        }
        ("median", [x]) => x.median(axis(), false).map(|(values, _)| values),
        ("max_along", [x]) => x.max_along(axis(), false).map(|(values, _)| values),
        ("min_along", [x]) => x.min_along(axis(), false).map(|(values, _)| values),
        ("kthvalue", [x]) => x.kthvalue(size("k"), axis(), false).map(|(values, _)| values),
        ("quantile", [x]) => x.quantile(case.number("q"), axis(), false),
        ("quantiles", [x]) => {
            let q = case.setting("q").as_array().unwrap().iter().map(|q| q.as_f64().unwrap());
            x.quantiles(&q.collect::<Vec<_>>(), axis(), keep())
        }

        ("mode", [x]) => x.mode(axis(), false).map(|(values, _)| values),
        ("nanmedian", [x]) => {
            with_nan(case, x).and_then(|x| x.nanmedian(axis(), false)).map(|(values, _)| values)
        }
        ("nansum", [x]) => with_nan(case, x).map(|x| x.nansum()),
        ("nanmean", [x]) => with_nan(case, x).map(|x| x.nanmean()),
        ("nansum_axes", [x]) => with_nan(case, x).and_then(|x| x.nansum_axes(&axes(), keep())),
        ("nanmean_axes", [x]) => with_nan(case, x).and_then(|x| x.nanmean_axes(&axes(), keep())),

        ("prod", [x]) => Ok(x.prod()),
        ("max", [x]) => x.max(),
        ("min", [x]) => x.min(),
        ("var", [x]) => Ok(x.var(case.number("correction"))),
        ("std", [x]) => Ok(x.std(case.number("correction"))),
        ("std_axes", [x]) => x.std_axes(&axes(), case.number("correction"), keep()),
        ("norm_axes", [x]) => x.norm_axes(case.number("p"), &axes(), keep()),
        ("norm", [x]) => x.norm(case.number("p")),
        ("diff", [x]) => x.diff(axis()),
        ("normalize", [x]) => x.normalize(case.number("p"), axis(), 1e-12),
        ("cosine_similarity", [x, y]) => x.cosine_similarity(y, axis(), 1e-8),
        _ => return None,
    })
}

/// Not a number where the case's mask is false.
fn with_nan<V: Ops>(case: &Case, x: &V) -> Result<V> {
    x.masked_fill(&case.tensor::<bool>("in1").logical_not(), f64::NAN)
}

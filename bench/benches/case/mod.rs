//! Functions shared by the benchmarks of single calls.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use dendra::tensor::{Rng, Tensor};

/// One operation for one shape: its name, its throughput, and a function that prepares a call.
pub(crate) fn case<R>(
    criterion: &mut Criterion,
    (operation, shape): (&str, &str),
    work: Throughput,
    prepare: impl Fn(&mut Rng) -> Box<dyn Fn() -> R>,
) {
    let mut group = criterion.benchmark_group(operation);
    group.throughput(work);
    let mut call = None;
    group.bench_function(shape, |bencher| {
        // A case is prepared only if it runs, and only once.
        let call = call.get_or_insert_with(|| prepare(&mut Rng::seed(0)));
        bencher.iter(|| black_box(call()));
    });
    group.finish();
}

/// Normally distributed numbers.
pub(crate) fn normal(shape: &[usize], rng: &mut Rng) -> Tensor {
    Tensor::normal(shape, 0.0, 1.0, rng)
}

/// The bytes of this many elements.
pub(crate) fn bytes(elements: usize) -> Throughput {
    Throughput::Bytes((elements * size_of::<f32>()) as u64)
}

/// The numbers of a shape as in a benchmark's name.
pub(crate) fn joined(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

/// Runs the groups.
pub(crate) fn run(groups: &[fn(&mut Criterion)]) {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for group in groups {
        group(&mut criterion);
    }
    criterion.final_summary();
}

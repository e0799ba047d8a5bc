//! Every method compared with the plain loop, and the properties that all
//! methods share.

use super::*;
use crate::random::Rng;

/// A matrix to multiply: its elements, the offset of the first, its strides.
struct Matrix<T> {
    elements: Vec<T>,
    offset: usize,
    strides: [usize; 2],
}

/// The offset and the strides for this number of rows and columns.
type Layout = fn(usize, usize) -> (usize, [usize; 2]);

/// Layouts of a matrix in memory.
const LAYOUTS: [Layout; 8] = [
    |_, columns| (0, [columns, 1]),
    |rows, _| (0, [1, rows]),
    |_, columns| (3, [columns + 5, 1]),
    |rows, _| (1, [1, rows + 7]),
    |_, columns| (2, [2 * columns + 1, 2]),
    |rows, _| (0, [3, 3 * rows + 2]),
    |_, _| (4, [0, 1]),
    |_, _| (0, [1, 0]),
];

impl Matrix<f64> {
    fn random([rows, columns]: [usize; 2], layout: usize, rng: &mut Rng) -> Self {
        let (offset, strides) = LAYOUTS[layout % LAYOUTS.len()](rows, columns);
        let reach = |length: usize, stride| length.saturating_sub(1) * stride;
        let length = offset + reach(rows, strides[0]) + reach(columns, strides[1]) + 1;
        // Rounded to `f32`, so that both types have the same values.
        let elements = (0..length).map(|_| f64::from(rng.normal() as f32)).collect();
        Self { elements, offset, strides }
    }

    fn map<U>(&self, f: impl Fn(f64) -> U) -> Matrix<U> {
        let elements = self.elements.iter().map(|&x| f(x)).collect();
        Matrix { elements, offset: self.offset, strides: self.strides }
    }
}

/// The term that a test adds to a product; the numbers for a row or a column are
/// those of C.
#[derive(Clone, Copy)]
enum Adds {
    Nothing,
    C,
    Row,
    Column,
}

impl Adds {
    const ALL: [Self; 4] = [Self::Nothing, Self::C, Self::Row, Self::Column];

    fn any(rng: &mut Rng) -> Self {
        Self::ALL[rng.below(4)]
    }
}

/// Runs `path` on copies of the operands; C's rows are `columns` apart.
fn compute<T: Float>(
    path: fn(Problem<'_, T>),
    size: [usize; 3],
    a: &Matrix<T>,
    b: &Matrix<T>,
    c: &[T],
    columns: usize,
    adds: Adds,
) -> Vec<T> {
    compute_then(path, size, [a, b], c, columns, adds, Epilogue::NONE)
}

/// The same with what follows.
fn compute_then<T: Float>(
    path: fn(Problem<'_, T>),
    [m, k, n]: [usize; 3],
    [a, b]: [&Matrix<T>; 2],
    c: &[T],
    columns: usize,
    adds: Adds,
    then: Epilogue<'_, T>,
) -> Vec<T> {
    let vector = |length: usize| -> Vec<T> {
        c.iter().copied().chain([T::ONE; 200]).rev().take(length).collect()
    };
    let (row, column) = (vector(n), vector(m));
    let mut c = c.to_vec();
    path(Problem {
        m,
        k,
        n,
        a: &a.elements[a.offset..],
        a_strides: a.strides,
        b: &b.elements[b.offset..],
        b_strides: b.strides,
        c: &mut c,
        columns,
        plus: match adds {
            Adds::Nothing => Plus::Nothing,
            Adds::C => Plus::C,
            Adds::Row => Plus::Row(&row),
            Adds::Column => Plus::Column(&column),
        },
        then,
    });
    c
}

/// A named way to compute a product.
type Path<T> = (&'static str, fn(Problem<'_, T>));

/// The ways to compute a product on this machine.
trait Paths: Float {
    fn paths() -> Vec<Path<Self>>;
}

macro_rules! paths {
    ($($type:ident $panels:ident $with_panels:ident $avx2:ident;)*) => {$(
        impl Paths for $type {
            fn paths() -> Vec<Path<Self>> {
                let mut paths: Vec<Path<Self>> = vec![
                    ("chosen", |p| super::$type(p)),
                    ("in panels", |p| {
                        let panels = super::$panels([p.k, p.n], (p.b, p.b_strides));
                        super::$with_panels(p, &panels);
                    }),
                    ("portable", |p| { p.check(); fallback::$type(p) }),
                ];
                if $type::kernels().is_some() {
                    paths.push(("micro-kernels", |p| {
                        p.check();
                        let kernels = $type::kernels().expect("they were found");
                        // SAFETY: the bounds are checked, and the CPU has these.
                        unsafe { driver::multiply(p, kernels, None) };
                    }));
                }
                #[cfg(target_arch = "x86_64")]
                if simd::has_avx2() {
                    // SAFETY: the bounds are checked, and the CPU has AVX2.
                    paths.push(("AVX2", |p| unsafe {
                        p.check();
                        driver::multiply(p, &micro::$avx2, None);
                    }));
                    // SAFETY: as above.
                    paths.push(("AVX2, in panels", |p| unsafe {
                        p.check();
                        let (size, kernels) = ([p.k, p.n], &micro::$avx2);
                        let panels = driver::panels(kernels, size, p.b, p.b_strides);
                        driver::multiply(p, kernels, Some((panels.as_slice(), false)));
                    }));
                    // SAFETY: as above.
                    paths.push(("AVX2, A in panels", |p| unsafe {
                        p.check();
                        let (size, kernels) = ([p.k, p.m], &micro::$avx2);
                        let turned = [p.a_strides[1], p.a_strides[0]];
                        let panels = driver::panels(kernels, size, p.a, turned);
                        driver::multiply(p, kernels, Some((panels.as_slice(), true)));
                    }));
                }
                paths
            }
        }
    )*};
}
paths! {
    f32 f32_panels f32_with_panels AVX2_F32;
    f64 f64_panels f64_with_panels AVX2_F64;
}

/// Compares all methods with the plain loop in `f64`, up to the error that
/// rounding each operation allows, and checks that the memory between the rows
/// of C does not change.
fn check<T: Paths>([m, k, n]: [usize; 3], layouts: [usize; 2], extra: usize, adds: Adds) {
    let mut rng = Rng::seed((m * 1_000_003 + k * 1009 + n) as u64);
    let a = Matrix::random([m, k], layouts[0], &mut rng);
    let b = Matrix::random([k, n], layouts[1], &mut rng);
    let columns = n + extra;
    let c: Vec<f64> = (0..m * columns).map(|_| f64::from(rng.normal() as f32)).collect();
    let size = [m, k, n];
    let expected = compute(naive, size, &a, &b, &c, columns, adds);
    let absolute = c.iter().map(|x| x.abs()).collect::<Vec<_>>();
    let scaled = if let Adds::Nothing = adds { Adds::C } else { adds };
    let scale =
        compute(naive, size, &a.map(f64::abs), &b.map(f64::abs), &absolute, columns, scaled);
    let (a, b) = (a.map(T::from_f64), b.map(T::from_f64));
    let c: Vec<T> = c.into_iter().map(T::from_f64).collect();
    for (name, path) in T::paths() {
        let found = compute(path, size, &a, &b, &c, columns, adds);
        for i in 0..found.len() {
            let context = || format!("{name}, {m}×{k}×{n}, layouts {layouts:?}, element {i}");
            if i % columns >= n {
                assert_eq!(found[i], c[i], "{}", context());
            } else {
                let error = (found[i].to_f64() - expected[i]).abs();
                let allowed = T::EPSILON.to_f64() * scale[i] * (k + 2) as f64;
                assert!(error <= allowed, "{}: {} for {}", context(), found[i], expected[i]);
            }
        }
    }
}

#[test]
fn small_products_match_the_plain_loop() {
    let mut rng = Rng::seed(1);
    for _ in 0..1500 {
        let size = [(); 3].map(|()| 1 + rng.below(20));
        let layouts = [rng.below(LAYOUTS.len()), rng.below(LAYOUTS.len())];
        let (extra, adds) = (rng.below(3), Adds::any(&mut rng));
        check::<f32>(size, layouts, extra, adds);
        check::<f64>(size, layouts, extra, adds);
    }
}

#[test]
fn products_match_the_plain_loop_around_the_edges_of_tiles_and_blocks() {
    let mut rng = Rng::seed(2);
    let edges = [1, 2, 13, 14, 15, 16, 17, 31, 32, 33, 45, 46, 63, 64, 65, 100, 131];
    let depths = [1, 3, 9, 64, 255, 257, 511, 512, 513, 1100];
    let layouts = LAYOUTS.len();
    for case in 0..2 * layouts * layouts {
        let size = [
            edges[rng.below(edges.len())],
            depths[rng.below(depths.len())],
            edges[rng.below(edges.len())],
        ];
        let layouts = [case % layouts, case / layouts % layouts];
        check::<f32>(size, layouts, case % 3, Adds::any(&mut rng));
        check::<f64>(size, layouts, case % 3, Adds::any(&mut rng));
    }
    // Large enough for packing, copying and several blocks along each axis.
    let kinds = [
        ([0, 0], Adds::C),
        ([1, 1], Adds::Nothing),
        ([2, 1], Adds::C),
        ([0, 3], Adds::Row),
        ([0, 0], Adds::Column),
    ];
    for (layouts, adds) in kinds {
        check::<f32>([470, 520, 600], layouts, 1, adds);
        check::<f64>([241, 520, 290], layouts, 0, adds);
    }
}

#[test]
fn empty_products_leave_or_clear_the_result() {
    for size in [[0, 3, 2], [2, 3, 0], [3, 0, 5], [0, 0, 0]] {
        for adds in Adds::ALL {
            check::<f32>(size, [0, 0], 1, adds);
            check::<f64>(size, [0, 0], 0, adds);
        }
    }
}

/// Shapes that use the different methods of the driver, each large enough to be
/// split.
const SPLIT: [([usize; 3], [usize; 2]); 9] = [
    ([150, 300, 200], [0, 0]),
    ([150, 300, 200], [1, 1]),
    ([32, 1000, 128], [0, 1]),
    ([20, 70, 2000], [1, 0]),
    ([12, 9000, 10], [0, 1]),
    ([20, 9000, 30], [0, 1]),
    ([150, 2100, 130], [0, 0]),
    ([5000, 9, 64], [0, 0]),
    ([300, 130, 300], [5, 4]),
];

fn operands<T: Float>([m, k, n]: [usize; 3], layouts: [usize; 2]) -> [Matrix<T>; 2] {
    let mut rng = Rng::seed(3);
    [([m, k], layouts[0]), ([k, n], layouts[1])]
        .map(|(size, layout)| Matrix::random(size, layout, &mut rng).map(T::from_f64))
}

fn same_bits_for_any_number_of_threads<T: Paths>() {
    for (size @ [m, _, n], layouts) in SPLIT {
        let [a, b] = operands::<T>(size, layouts);
        let c = vec![T::ONE; m * n];
        for (name, path) in T::paths() {
            let results = [1, 2, 3, 7].map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| compute(path, size, &a, &b, &c, n, Adds::Row))
            });
            for result in &results[1..] {
                assert!(*result == results[0], "{name}, {size:?}");
            }
        }
    }
}

#[test]
fn the_number_of_threads_does_not_show() {
    same_bits_for_any_number_of_threads::<f32>();
    same_bits_for_any_number_of_threads::<f64>();
}

/// Some rows or columns computed alone, in either orientation and with each
/// instruction set, have the same bits as in the whole product.
fn same_bits_for_any_part<T: Paths>() {
    for (size @ [m, k, n], layouts) in SPLIT {
        let [a, b] = operands::<T>(size, layouts);
        let c = vec![T::ONE; m * n];
        let ours = T::paths().into_iter().filter(|(name, _)| name.starts_with("AVX"));
        let mut whole: Option<Vec<T>> = None;
        for (name, path) in ours {
            let found = compute(path, size, &a, &b, &c, n, Adds::C);
            let whole = whole.get_or_insert_with(|| found.clone());
            assert!(found == *whole, "{name}, {size:?}");
            for [rows, columns] in [[1, n], [3, n], [17, n], [m, 1], [m, 5], [m, 33], [2, 2]] {
                let (rows, columns) = (rows.min(m), columns.min(n));
                let part = compute(path, [rows, k, columns], &a, &b, &c, n, Adds::C);
                for i in 0..rows {
                    let row = i * n..i * n + columns;
                    assert!(part[row.clone()] == whole[row], "{name}, {size:?}, row {i}");
                }
            }
        }
    }
}

#[test]
fn neither_tiles_nor_orientation_nor_instruction_set_show() {
    same_bits_for_any_part::<f32>();
    same_bits_for_any_part::<f64>();
}

/// Products with registers along k, at the boundaries of tiles, groups and
/// bands.
#[test]
fn narrow_products_of_rows_match_the_plain_loop() {
    let mut rng = Rng::seed(4);
    for n in 1..=33 {
        for k in [64 * n - 1, 64 * n, 64 * n + 13, 4096, 4097, 9000] {
            let m = [1, 2, 3, 4, 5, 9, 31][rng.below(7)];
            let layouts = [[0, 1], [2, 3], [2, 1], [6, 1], [0, 7]][rng.below(5)];
            let (extra, adds) = (rng.below(3), Adds::any(&mut rng));
            check::<f32>([m, k, n], layouts, extra, adds);
            check::<f64>([m, k, n], layouts, extra, adds);
        }
    }
}

fn rows_alone_have_the_bits_of_the_whole<T: Paths>() {
    let narrow = [([37, 9000, 10], [0, 1]), ([50, 300, 3], [2, 3])];
    // Very few rows of B that is contiguous along k are not packed.
    let wide = [([37, 530, 70], [0, 1]), ([20, 1100, 33], [2, 3]), ([20, 9, 100], [0, 1])];
    for (size @ [m, k, n], layouts) in narrow.into_iter().chain(wide) {
        let [a, b] = operands::<T>(size, layouts);
        let c = vec![T::ONE; m * n];
        for (name, path) in T::paths() {
            let whole = compute(path, size, &a, &b, &c, n, Adds::C);
            for rows in [1, 2, 3, 4, 5, 7, 8, 9, 33] {
                let rows = rows.min(m);
                let part = compute(path, [rows, k, n], &a, &b, &c, n, Adds::C);
                assert!(part[..rows * n] == whole[..rows * n], "{name}, {size:?}, {rows} rows");
            }
        }
    }
}

#[test]
fn a_sample_alone_is_multiplied_as_in_a_batch() {
    rows_alone_have_the_bits_of_the_whole::<f32>();
    rows_alone_have_the_bits_of_the_whole::<f64>();
}

/// What follows sees each element of C once, with its position and final value.
fn what_follows_is_applied<T: Paths>() {
    let follows = |position: usize, y: T| y + y + T::from_f64(position as f64);
    let then = |first: usize, c: &mut [T]| {
        c.iter_mut().enumerate().for_each(|(i, c)| *c = follows(first + i, *c));
    };
    let small =
        [([7, 5, 33], [1, 0]), ([3, 0, 4], [0, 0]), ([0, 4, 3], [0, 0]), ([2, 90, 1], [0, 1])];
    for (size @ [m, _, n], layouts) in SPLIT.into_iter().chain(small) {
        let [a, b] = operands::<T>(size, layouts);
        for (name, path) in T::paths().into_iter().chain([("plain", naive as fn(Problem<'_, T>))]) {
            for columns in [n, n + 3] {
                let c = vec![T::ONE; m * columns];
                let mut expected = compute(path, size, &a, &b, &c, columns, Adds::Row);
                for (i, c) in expected.iter_mut().enumerate().filter(|(i, _)| i % columns < n) {
                    *c = follows(i, *c);
                }
                let (adds, then) = (Adds::Row, Epilogue::new(&then));
                let found = compute_then(path, size, [&a, &b], &c, columns, adds, then);
                assert!(found == expected, "{name}, {size:?}, rows {columns} apart");
            }
        }
    }
}

#[test]
fn what_follows_sees_each_element_once() {
    what_follows_is_applied::<f32>();
    what_follows_is_applied::<f64>();
}

fn special_values_spread<T: Paths>() {
    let sizes = [([40, 70, 50], [0, 1]), ([7, 5, 33], [1, 0]), ([7, 200, 3], [0, 1])];
    for (size @ [m, k, n], layouts) in sizes {
        let [mut a, mut b] = operands::<T>(size, layouts);
        let infinity = T::ONE / T::ZERO;
        a.elements[k / 2] = T::NAN;
        a.elements[3 * k + 1] = infinity;
        b.elements[n + 2] = infinity;
        b.elements[2 * n + 3] = -infinity;
        let c = vec![T::ZERO; m * n];
        let expected = compute(naive, size, &a, &b, &c, n, Adds::Nothing);
        assert!(expected.iter().any(|x| x.is_finite()));
        for (name, path) in T::paths() {
            for (i, (found, expected)) in
                compute(path, size, &a, &b, &c, n, Adds::Nothing).iter().zip(&expected).enumerate()
            {
                let same = if expected.is_finite() {
                    found.is_finite()
                } else {
                    found == expected || found.is_nan() && expected.is_nan()
                };
                assert!(same, "{name}, {size:?}, element {i}: {found} for {expected}");
            }
        }
    }
}

#[test]
fn nan_and_infinity_spread_as_in_the_plain_loop() {
    special_values_spread::<f32>();
    special_values_spread::<f64>();
}

#[test]
#[should_panic(expected = "B is too short")]
fn a_slice_that_is_too_short_is_refused() {
    f32(Problem {
        m: 2,
        k: 2,
        n: 2,
        a: &[0.0; 4],
        a_strides: [2, 1],
        b: &[0.0; 3],
        b_strides: [2, 1],
        c: &mut [0.0; 4],
        columns: 2,
        plus: Plus::Nothing,
        then: Epilogue::NONE,
    });
}

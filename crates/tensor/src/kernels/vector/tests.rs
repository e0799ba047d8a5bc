//! Every operation of vectors, compared with a computation number by number.

use super::*;

/// All operations of vectors, for every number of lanes in use: the errors of
/// the results.
#[derive(Clone)]
struct Everything<T>(Vec<T>);

impl<T: Float> Kernel<T> for Everything<T> {
    type Output = Vec<T>;

    #[inline(always)]
    fn run<V: Vector<T>>(self) -> Vec<T> {
        let x = self.0;
        let mut differences = Vec::new();
        let (seven, half) = (T::from_f64(7.0), T::from_f64(0.5));
        for count in 0..=V::LANES {
            let (a, b) = (V::load_part(&x[..count]), V::load(&x[20..]));
            let mut found = vec![seven; 40];
            a.store_part(&mut found[1..1 + count]);
            b.plus(V::splat(half)).store(&mut found[20..]);
            found.push(V::splat(T::ONE).plus_product(a, b).total());
            found.push(a.times(b).minus(a).total());

            let mut expected = vec![seven; 40];
            expected[1..1 + count].copy_from_slice(&x[..count]);
            for lane in 0..V::LANES {
                expected[20 + lane] = x[20 + lane] + half;
            }
            let dot: T = (0..count).map(|lane| x[lane] * x[20 + lane]).sum();
            expected.push(T::from_f64(V::LANES as f64) + dot);
            expected.push(dot - x[..count].iter().copied().sum());
            differences.extend(found.iter().zip(&expected).map(|(&a, &b)| a - b));
        }
        differences
    }
}

#[test]
fn every_kind_of_vector_loads_computes_and_stores() {
    // Small multiples of one half, so that nothing is rounded.
    let numbers = |i: usize| ((i * 7) % 13) as f64 / 2.0 - 3.0;
    for differences in f32_each(&Everything((0..60).map(|i| numbers(i) as f32).collect())) {
        assert!(differences.iter().all(|&difference| difference == 0.0), "{differences:?}");
    }
    for differences in f64_each(&Everything((0..60).map(numbers).collect())) {
        assert!(differences.iter().all(|&difference| difference == 0.0), "{differences:?}");
    }
}

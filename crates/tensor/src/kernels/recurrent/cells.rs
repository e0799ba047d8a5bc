//! Recurrent cells: the computation of one step for a row of a batch.

use crate::element::Float;

/// A recurrent cell: the arithmetic of one step of one sample, on rows made of
/// blocks of `hidden` elements each.
///
/// `forward` and `backward` are `#[inline(always)]`, so that they are compiled
/// for the CPU's instruction set.
pub trait Cell: Clone + Send + Sync + 'static {
    /// The name in errors.
    const NAME: &'static str;
    /// The number of blocks in the rows of the weights.
    const GATES: usize;
    /// The number of blocks in the state: the output, and the other values for
    /// the next step.
    const STATES: usize;
    /// The number of blocks that are kept for the gradient in addition to the
    /// gates.
    const EXTRA: usize;
    /// Whether the gradient of the recurrent product differs from that of the
    /// input product.
    const SPLIT: bool;

    /// The cell with each combination of its settings.
    fn all() -> Vec<Self>;

    /// One step. `gates` has the input product with its bias, and receives the
    /// activated gates. `recurrent` has the recurrent product with its bias.
    /// `state` has the state before the step, and receives the one after it.
    /// `extra` receives the other values for the gradient.
    fn forward<T: Float>(
        &self,
        hidden: usize,
        gates: &mut [T],
        recurrent: &[T],
        extra: &mut [T],
        state: &mut [T],
    );

    /// The gradient of one step. The gradient of the input product is written
    /// to `input` and, with [`SPLIT`](Self::SPLIT), that of the recurrent
    /// product to `recurrent`. `state` has the gradient of the state after the
    /// step, and receives that of the state before it, without the part that
    /// comes through the recurrent product.
    fn backward<T: Float>(
        &self,
        hidden: usize,
        kept: Kept<'_, T>,
        state: &mut [T],
        input: &mut [T],
        recurrent: &mut [T],
    );
}

/// The values of a step that are kept for its gradient.
#[derive(Debug)]
pub struct Kept<'a, T> {
    /// The activated gates.
    pub gates: &'a [T],
    /// The other values that the cell keeps.
    pub extra: &'a [T],
    /// The state before the step.
    pub previous: &'a [T],
}

/// The number of units in a row that are computed together. Their values are
/// copied to arrays first, so that the compiler need not check whether blocks
/// overlap, which would take longer than a short row.
const UNITS: usize = 16;

/// The values of `UNITS` units, from unit `first` on, in each block of a row; 0
/// after the last unit.
#[inline(always)]
fn load<T: Float, const N: usize>(row: &[T], hidden: usize, first: usize) -> [[T; UNITS]; N] {
    let mut blocks = [[T::ZERO; UNITS]; N];
    for (i, block) in blocks.iter_mut().enumerate() {
        let from = &row[i * hidden..][..hidden][first..];
        match from.first_chunk() {
            Some(from) => *block = *from,
            None => block[..from.len()].copy_from_slice(from),
        }
    }
    blocks
}

/// Writes the values that [`load`] reads.
#[inline(always)]
fn store<T: Float, const N: usize>(
    row: &mut [T],
    hidden: usize,
    first: usize,
    blocks: [[T; UNITS]; N],
) {
    for (i, block) in blocks.iter().enumerate() {
        let to = &mut row[i * hidden..][..hidden][first..];
        match to.first_chunk_mut() {
            Some(to) => *to = *block,
            None => to.copy_from_slice(&block[..to.len()]),
        }
    }
}

/// Long short-term memory.
#[derive(Clone, Copy, Debug)]
pub struct Lstm;

impl Cell for Lstm {
    const NAME: &'static str = "lstm";
    const GATES: usize = 4;
    const STATES: usize = 2;
    /// tanh of the new cell state.
    const EXTRA: usize = 1;
    const SPLIT: bool = false;

    fn all() -> Vec<Self> {
        vec![Self]
    }

    #[inline(always)]
    fn forward<T: Float>(
        &self,
        hidden: usize,
        gates: &mut [T],
        recurrent: &[T],
        extra: &mut [T],
        state: &mut [T],
    ) {
        for first in (0..hidden).step_by(UNITS) {
            let [mut i, mut f, mut g, mut o] = load(gates, hidden, first);
            let [ri, rf, rg, ro] = load(recurrent, hidden, first);
            let [mut h, mut c] = load(state, hidden, first);
            let mut tanh = [T::ZERO; UNITS];
            for j in 0..UNITS {
                i[j] = (i[j] + ri[j]).sigmoid();
                f[j] = (f[j] + rf[j]).sigmoid();
                g[j] = (g[j] + rg[j]).tanh();
                o[j] = (o[j] + ro[j]).sigmoid();
                c[j] = f[j] * c[j] + i[j] * g[j];
                tanh[j] = c[j].tanh();
                h[j] = o[j] * tanh[j];
            }
            store(gates, hidden, first, [i, f, g, o]);
            store(extra, hidden, first, [tanh]);
            store(state, hidden, first, [h, c]);
        }
    }

    #[inline(always)]
    fn backward<T: Float>(
        &self,
        hidden: usize,
        kept: Kept<'_, T>,
        state: &mut [T],
        input: &mut [T],
        _: &mut [T],
    ) {
        for first in (0..hidden).step_by(UNITS) {
            let [i, f, g, o] = load(kept.gates, hidden, first);
            let [_, before] = load(kept.previous, hidden, first);
            let [tanh] = load(kept.extra, hidden, first);
            let [mut dh, mut dc] = load(state, hidden, first);
            let [mut di, mut df, mut dg, mut d_o] = [[T::ZERO; UNITS]; 4];
            for j in 0..UNITS {
                let cell = dc[j] + dh[j] * o[j] * (T::ONE - tanh[j] * tanh[j]);
                di[j] = cell * g[j] * i[j] * (T::ONE - i[j]);
                df[j] = cell * before[j] * f[j] * (T::ONE - f[j]);
                dg[j] = cell * i[j] * (T::ONE - g[j] * g[j]);
                d_o[j] = dh[j] * tanh[j] * o[j] * (T::ONE - o[j]);
                dc[j] = cell * f[j];
                dh[j] = T::ZERO;
            }
            store(input, hidden, first, [di, df, dg, d_o]);
            store(state, hidden, first, [dh, dc]);
        }
    }
}

/// The gated recurrent unit.
#[derive(Clone, Copy, Debug)]
pub struct Gru;

impl Cell for Gru {
    const NAME: &'static str = "gru";
    const GATES: usize = 3;
    const STATES: usize = 1;
    /// The recurrent product of the new gate.
    const EXTRA: usize = 1;
    const SPLIT: bool = true;

    fn all() -> Vec<Self> {
        vec![Self]
    }

    #[inline(always)]
    fn forward<T: Float>(
        &self,
        hidden: usize,
        gates: &mut [T],
        recurrent: &[T],
        extra: &mut [T],
        state: &mut [T],
    ) {
        for first in (0..hidden).step_by(UNITS) {
            let [mut r, mut z, mut n] = load(gates, hidden, first);
            let [rr, rz, rn] = load(recurrent, hidden, first);
            let [mut h] = load(state, hidden, first);
            for j in 0..UNITS {
                r[j] = (r[j] + rr[j]).sigmoid();
                z[j] = (z[j] + rz[j]).sigmoid();
                n[j] = (n[j] + r[j] * rn[j]).tanh();
                h[j] = (T::ONE - z[j]) * n[j] + z[j] * h[j];
            }
            store(gates, hidden, first, [r, z, n]);
            store(extra, hidden, first, [rn]);
            store(state, hidden, first, [h]);
        }
    }

    #[inline(always)]
    fn backward<T: Float>(
        &self,
        hidden: usize,
        kept: Kept<'_, T>,
        state: &mut [T],
        input: &mut [T],
        recurrent: &mut [T],
    ) {
        for first in (0..hidden).step_by(UNITS) {
            let [r, z, n] = load(kept.gates, hidden, first);
            let [before] = load(kept.previous, hidden, first);
            let [product] = load(kept.extra, hidden, first);
            let [mut dh] = load(state, hidden, first);
            let [mut dr, mut dz, mut dn, mut dn_h] = [[T::ZERO; UNITS]; 4];
            for j in 0..UNITS {
                dn[j] = dh[j] * (T::ONE - z[j]) * (T::ONE - n[j] * n[j]);
                dz[j] = dh[j] * (before[j] - n[j]) * z[j] * (T::ONE - z[j]);
                dr[j] = dn[j] * product[j] * r[j] * (T::ONE - r[j]);
                dn_h[j] = dn[j] * r[j];
                dh[j] *= z[j];
            }
            store(input, hidden, first, [dr, dz, dn]);
            store(recurrent, hidden, first, [dr, dz, dn_h]);
            store(state, hidden, first, [dh]);
        }
    }
}

/// The plain recurrent unit of Elman.
#[derive(Clone, Copy, Debug)]
pub struct Rnn {
    /// Whether max(x, 0) replaces tanh.
    pub relu: bool,
}

impl Cell for Rnn {
    const NAME: &'static str = "rnn";
    const GATES: usize = 1;
    const STATES: usize = 1;
    const EXTRA: usize = 0;
    const SPLIT: bool = false;

    fn all() -> Vec<Self> {
        vec![Self { relu: false }, Self { relu: true }]
    }

    #[inline(always)]
    fn forward<T: Float>(
        &self,
        hidden: usize,
        gates: &mut [T],
        recurrent: &[T],
        _: &mut [T],
        state: &mut [T],
    ) {
        let (y, h, recurrent) = (&mut gates[..hidden], &mut state[..hidden], &recurrent[..hidden]);
        if self.relu {
            for j in 0..hidden {
                y[j] = (y[j] + recurrent[j]).max_nan(T::ZERO);
                h[j] = y[j];
            }
        } else {
            for j in 0..hidden {
                y[j] = (y[j] + recurrent[j]).tanh();
                h[j] = y[j];
            }
        }
    }

    #[inline(always)]
    fn backward<T: Float>(
        &self,
        hidden: usize,
        kept: Kept<'_, T>,
        state: &mut [T],
        input: &mut [T],
        _: &mut [T],
    ) {
        let (y, dh, dy) = (&kept.gates[..hidden], &mut state[..hidden], &mut input[..hidden]);
        for j in 0..hidden {
            let slope = match self.relu {
                true if y[j] <= T::ZERO => T::ZERO,
                true => T::ONE,
                false => T::ONE - y[j] * y[j],
            };
            dy[j] = dh[j] * slope;
            dh[j] = T::ZERO;
        }
    }
}

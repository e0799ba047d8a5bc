//! Sums of products in 16 bits, for the kernel of AVX2.

/// Weights of a panel for a pair of elements of a row, two for each of 16 columns
/// side by side, which the panel lacks: with them, a sum could exceed 16 bits.
#[derive(Clone, Debug)]
pub(super) struct Rest {
    pub(super) pair: usize,
    pub(super) weights: [i8; 32],
}

/// The largest sum of weights whose products with bytes fit in 16 bits.
const MOST: i16 = 128;
/// The bytes of a group: four weights of each of 16 columns.
const GROUP: usize = 64;
/// What products with a [`Rest`] cost, in products with half a group.
const COST: usize = 3;

/// The panels by which the best span is chosen.
const LOOKED_AT: usize = 4;

/// The number of groups whose products are best summed in 16 bits: with more, the
/// sums are widened less often, and more weights have to be left out.
pub(super) fn best_span(panels: &[i8], bytes: usize) -> usize {
    // The first panels are like the others.
    let looked_at = &panels[..panels.len().min(LOOKED_AT * bytes)];
    let groups = looked_at.len() / GROUP;
    let cost = |span: usize| {
        let mut rest = Vec::new();
        for panel in looked_at.chunks(bytes) {
            split(&mut panel.to_vec(), span, &mut rest);
        }
        2 * groups + 2 * groups / span + COST * rest.len()
    };
    let best = [4, 2, 1].into_iter().min_by_key(|&span| cost(span));
    best.unwrap_or(1)
}

/// Takes weights out of a panel, so that the sums over `span` groups, and those
/// over each group after the last whole span, do not exceed 16 bits.
pub(super) fn split(panel: &mut [i8], span: usize, rest: &mut Vec<Rest>) {
    let groups = panel.len() / GROUP;
    let whole = groups / span * span;
    let spans = (0..whole).step_by(span).map(|first| (first, span));
    for (first, span) in spans.chain((whole..groups).map(|first| (first, 1))) {
        let weights = &mut panel[first * GROUP..][..span * GROUP];
        let mut taken = vec![[0; 32]; 2 * span];
        for column in 0..16 {
            for half in 0..2 {
                take(weights, 4 * column + 2 * half, |group, second, weight| {
                    taken[2 * group + half][2 * column + second] = weight;
                });
            }
        }
        for (index, weights) in taken.into_iter().enumerate() {
            if weights != [0; 32] {
                rest.push(Rest { pair: 2 * first + index, weights });
            }
        }
    }
}

/// Takes the largest weights out of those that are summed in one lane, which is
/// at `lane` in each group, until no sum exceeds the limit. `keep` gets the group
/// of each, whether it is the second of its pair, and the weight.
fn take(weights: &mut [i8], lane: usize, mut keep: impl FnMut(usize, usize, i8)) {
    loop {
        let (mut most, mut least) = (0_i16, 0_i16);
        let (mut largest, mut lowest) = ((0, 0, 0), (0, 0, 0));
        for (group, weights) in weights.chunks_exact(GROUP).enumerate() {
            for second in 0..2 {
                let weight = weights[lane + second];
                most += i16::from(weight.max(0));
                least += i16::from(weight.min(0));
                if weight > largest.2 {
                    largest = (group, second, weight);
                }
                if weight < lowest.2 {
                    lowest = (group, second, weight);
                }
            }
        }
        let (group, second, weight) = match (most > MOST, least < -MOST) {
            (true, _) => largest,
            (false, true) => lowest,
            (false, false) => return,
        };
        weights[group * GROUP + lane + second] = 0;
        keep(group, second, weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sum_exceeds_16_bits_and_no_weight_is_lost() {
        let weight = |index: usize| (index * 37 % 255) as u8 as i8;
        for (groups, span) in [(8, 4), (7, 2), (5, 1), (3, 4)] {
            let before: Vec<i8> = (0..groups * GROUP).map(weight).collect();
            let (mut after, mut rest) = (before.clone(), Vec::new());
            split(&mut after, span, &mut rest);
            let mut all = after.clone();
            for Rest { pair, weights } in &rest {
                for (index, &weight) in weights.iter().enumerate().filter(|(_, w)| **w != 0) {
                    let at = pair / 2 * GROUP + 4 * (index / 2) + 2 * (pair % 2) + index % 2;
                    assert_eq!(all[at], 0);
                    all[at] = weight;
                }
            }
            assert_eq!(all, before);
            for first in (0..groups / span * span).step_by(span) {
                for lane in (0..GROUP).step_by(2) {
                    let lanes = (first..first + span).flat_map(|group| {
                        let at = group * GROUP + lane;
                        [after[at], after[at + 1]]
                    });
                    let sums = lanes.fold((0, 0), |(most, least), weight: i8| {
                        (most + i32::from(weight.max(0)), least + i32::from(weight.min(0)))
                    });
                    assert!(255 * sums.0 <= 32_767 && 255 * sums.1 >= -32_768);
                }
            }
        }
    }
}

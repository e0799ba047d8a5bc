//! Divisions of one data set among clients, to simulate federated learning.

use dendra_tensor::{Error, Result, Rng};

/// The indices of each client's samples: all samples in random order, in equal
/// parts. The last samples are left out if they do not suffice for all.
///
/// ```
/// use dendra_privacy::federated::divide_evenly;
///
/// let clients = divide_evenly(1000, 7, 42)?;
/// assert_eq!(clients.len(), 7);
/// assert!(clients.iter().all(|samples| samples.len() == 142));
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
///
/// # Errors
///
/// When there are no clients, or more than samples.
pub fn divide_evenly(samples: usize, clients: usize, seed: u64) -> Result<Vec<Vec<usize>>> {
    shards("divide_evenly", Rng::seed(seed).permutation(samples), clients, 1, seed)
}

/// The indices of each client's samples, sorted by label: the samples of one
/// class after those of another are cut into `shards_per_client` shards for each
/// client, and the shards are dealt at random. With 2 shards, most clients know
/// two classes (McMahan et al., 2017).
///
/// # Errors
///
/// When there are no clients or shards, or more shards than samples.
pub fn divide_by_label(
    labels: &[i64],
    clients: usize,
    shards_per_client: usize,
    seed: u64,
) -> Result<Vec<Vec<usize>>> {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_by_key(|&index| labels[index]);
    shards("divide_by_label", order, clients, shards_per_client, seed)
}

/// Cuts an order of samples into shards of the same size, and deals them.
fn shards(
    place: &str,
    order: Vec<usize>,
    clients: usize,
    each: usize,
    seed: u64,
) -> Result<Vec<Vec<usize>>> {
    let count = clients.saturating_mul(each);
    if count == 0 || count > order.len() {
        let message = format!(
            "expected 1 to {} shards, got {each} for each of {clients} clients",
            order.len()
        );
        return Err(Error::argument(place, message));
    }
    let size = order.len() / count;
    let dealt = Rng::seed(seed).fork(1).permutation(count);
    let shard = |&index: &usize| &order[index * size..(index + 1) * size];
    let client = |indices: &[usize]| indices.iter().flat_map(shard).copied().collect();
    Ok(dealt.chunks(each).map(client).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_sample_belongs_to_one_client() {
        let labels: Vec<i64> = (0..1000).map(|i| i % 10).collect();
        for clients in
            [divide_evenly(1000, 20, 1).unwrap(), divide_by_label(&labels, 20, 2, 1).unwrap()]
        {
            assert_eq!(clients.len(), 20);
            let all: BTreeSet<usize> = clients.iter().flatten().copied().collect();
            assert_eq!(all.len(), 1000);
        }
    }

    #[test]
    fn clients_of_a_division_by_label_know_few_classes() {
        let labels: Vec<i64> = (0..1000).map(|i| i % 10).collect();
        for client in divide_by_label(&labels, 50, 2, 3).unwrap() {
            let classes: BTreeSet<i64> = client.iter().map(|&index| labels[index]).collect();
            assert!(classes.len() <= 2, "{classes:?}");
        }
        let even = divide_evenly(1000, 50, 3).unwrap();
        let classes: BTreeSet<i64> = even[0].iter().map(|&index| labels[index]).collect();
        assert!(classes.len() > 4);
    }

    #[test]
    fn impossible_divisions_are_refused() {
        assert!(divide_evenly(5, 0, 0).is_err());
        assert!(divide_evenly(5, 6, 0).is_err());
        assert!(divide_by_label(&[0; 5], 3, 2, 0).is_err());
        assert!(divide_by_label(&[0; 5], usize::MAX, 2, 0).is_err());
    }
}

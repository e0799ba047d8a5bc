//! Digits as text for a terminal.

use dendra::prelude::*;

/// Shows images of shape `[n, 1, 28, 28]` side by side, and under each what
/// was read, how probable it is, and the truth where it is known and another.
pub(crate) fn show(
    images: &Tensor,
    probabilities: &Tensor,
    labels: Option<&Tensor<i64>>,
) -> Result<()> {
    let pixels = images.to_vec();
    // Half blocks show two rows of pixels in one line of text.
    for row in (0..28).step_by(2) {
        let mut line = String::new();
        for image in pixels.chunks_exact(28 * 28) {
            for column in 0..28 {
                let ink = |row: usize| image[row * 28 + column] > 0.5;
                line.push(match (ink(row), ink(row + 1)) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
        }
        println!("{}", line.trim_end());
    }
    let truths = labels.map(Tensor::to_vec);
    let certainties = probabilities.max_axes(&[1], false)?.to_vec();
    let mut line = String::new();
    for (i, found) in probabilities.argmax(1)?.to_vec().into_iter().enumerate() {
        let mut caption = format!("{found} ({:.1}%)", 100.0 * certainties[i]);
        if let Some(truth) = truths.as_ref().map(|truths| truths[i]).filter(|&truth| truth != found)
        {
            caption += &format!(", but is {truth}");
        }
        line += &format!("{caption:^28}");
    }
    println!("{}\n", line.trim_end());
    Ok(())
}

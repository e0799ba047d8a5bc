//! Curves as text for a terminal.

/// Draws known values (`+`), then a forecast (`●`) together with the true
/// values (`·`), one column per value, in `rows` lines.
pub(crate) fn draw(known: &[f32], forecast: &[f32], truth: &[f32], rows: usize) -> String {
    let all = || known.iter().chain(forecast).chain(truth).copied().filter(|x| x.is_finite());
    let (low, high) =
        (all().fold(f32::INFINITY, f32::min), all().fold(f32::NEG_INFINITY, f32::max));
    let columns = known.len() + forecast.len().max(truth.len());
    let mut canvas = vec![vec![' '; columns]; rows];
    for row in &mut canvas {
        row[known.len()..].iter_mut().take(1).for_each(|cell| *cell = '│');
    }
    let mut plot = |start: usize, values: &[f32], mark: char| {
        for (i, &value) in values.iter().enumerate() {
            let height = (value - low) / (high - low).max(f32::MIN_POSITIVE);
            let row = ((1.0 - height) * (rows - 1) as f32).round().max(0.0) as usize;
            canvas[row.min(rows - 1)][start + i] = mark;
        }
    };
    plot(0, known, '+');
    plot(known.len(), truth, '·');
    plot(known.len(), forecast, '●');
    let line = |(row, cells): (usize, Vec<char>)| {
        let value = high - (high - low) * row as f32 / (rows - 1).max(1) as f32;
        format!("{value:>6.2} {}\n", cells.into_iter().collect::<String>().trim_end())
    };
    canvas.into_iter().enumerate().map(line).collect()
}

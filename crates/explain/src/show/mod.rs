//! Display of attributions: heat maps, coloured words, bars.

mod bars;
mod heat_map;
#[cfg(feature = "png")]
mod png;
mod words;

pub use bars::Bars;
pub use heat_map::HeatMap;
pub use words::Words;

/// An RGB colour.
type Colour = [u8; 3];

/// The colour of values that increase the score.
const FOR: Colour = [0xD6, 0x2F, 0x27];
/// The colour of values that decrease the score.
const AGAINST: Colour = [0x2B, 0x6C, 0xB0];

/// The colour of a value from −1 to 1 over a background.
fn blended(value: f64, background: Colour) -> Colour {
    let (ink, share) = (if value < 0.0 { AGAINST } else { FOR }, value.abs().min(1.0));
    std::array::from_fn(|i| {
        let mixed = share * f64::from(ink[i]) + (1.0 - share) * f64::from(background[i]);
        mixed.round() as u8
    })
}

/// Values divided by the largest absolute one; values that are not finite
/// become 0.
fn relative(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let finite = |x: f64| if x.is_finite() { x } else { 0.0 };
    let values: Vec<f64> = values.into_iter().map(finite).collect();
    let largest = values.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    let scale = if largest > 0.0 { largest } else { 1.0 };
    values.into_iter().map(|x| x / scale).collect()
}

/// Escapes a text for SVG and HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn hexadecimal([red, green, blue]: Colour) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

#[cfg(test)]
mod tests;

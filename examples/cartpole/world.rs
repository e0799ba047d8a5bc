//! The cart and the pole of Barto, Sutton and Anderson, "Neuronlike adaptive
//! elements that can solve difficult learning control problems", 1983, with the
//! constants and limits that are now usual.

use std::fmt;

use dendra::prelude::*;

/// Metres per second squared.
const GRAVITY: f64 = 9.8;
/// Kilograms.
const CART_MASS: f64 = 1.0;
const POLE_MASS: f64 = 0.1;
const MASS: f64 = CART_MASS + POLE_MASS;
/// Metres from the hinge to the centre of the pole.
const HALF_LENGTH: f64 = 0.5;
/// Newtons.
const FORCE: f64 = 10.0;
/// Seconds.
const TIME_STEP: f64 = 0.02;
/// Metres from the centre of the track at which an episode ends.
const TRACK: f64 = 2.4;
/// Angle in radians at which an episode ends.
const LEAN: f64 = 12.0 * std::f64::consts::PI / 180.0;
/// Number of steps after which an episode ends.
pub(crate) const TIME_LIMIT: usize = 200;

/// A pole on a cart that is pushed left or right.
#[derive(Clone)]
pub(crate) struct CartPole {
    position: f64,
    velocity: f64,
    /// Radians from the vertical, clockwise.
    angle: f64,
    angular_velocity: f64,
    steps: usize,
}

impl CartPole {
    /// A random state: nearly upright, at rest and in the centre.
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let [position, velocity, angle, angular_velocity] =
            [(); 4].map(|()| 0.1 * rng.uniform() - 0.05);
        Self { position, velocity, angle, angular_velocity, steps: 0 }
    }

    /// Pushes left (0) or right (1) for one time step (by Euler's method).
    pub(crate) fn step(&mut self, action: i64) {
        let force = if action == 1 { FORCE } else { -FORCE };
        let (sine, cosine) = self.angle.sin_cos();
        let moment = POLE_MASS * HALF_LENGTH;
        let push = (force + moment * self.angular_velocity.powi(2) * sine) / MASS;
        let inertia = HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * cosine.powi(2) / MASS);
        let angular_acceleration = (GRAVITY * sine - cosine * push) / inertia;
        let acceleration = push - moment * angular_acceleration * cosine / MASS;
        self.position += TIME_STEP * self.velocity;
        self.velocity += TIME_STEP * acceleration;
        self.angle += TIME_STEP * self.angular_velocity;
        self.angular_velocity += TIME_STEP * angular_acceleration;
        self.steps += 1;
    }

    /// The observation of the agent: position, velocity, angle, angular
    /// velocity.
    pub(crate) fn observe(&self) -> [f32; 4] {
        [self.position, self.velocity, self.angle, self.angular_velocity].map(|x| x as f32)
    }

    /// Whether the pole leans too far or the cart left the track.
    pub(crate) fn has_fallen(&self) -> bool {
        self.position.abs() > TRACK || self.angle.abs() > LEAN
    }

    /// Whether the episode is over.
    pub(crate) fn is_over(&self) -> bool {
        self.has_fallen() || self.steps >= TIME_LIMIT
    }

    /// The number of steps since the start.
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }
}

/// A drawing, 61 columns wide.
impl fmt::Display for CartPole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WIDTH: usize = 61;
        const HEIGHT: usize = 6;
        let column = |metres: f64| {
            let place = (metres + TRACK) / (2.0 * TRACK) * (WIDTH - 1) as f64;
            place.round().clamp(0.0, (WIDTH - 1) as f64) as usize
        };
        let mut rows = vec![vec![' '; WIDTH]; HEIGHT];
        for (row, line) in rows.iter_mut().enumerate() {
            // The pole is drawn over the whole height, so that its angle is
            // visible.
            let along = 2.0 * HALF_LENGTH * (HEIGHT - row) as f64 / HEIGHT as f64;
            line[column(self.position + along * self.angle.sin())] = '█';
        }
        for row in rows {
            writeln!(f, "  {}", row.into_iter().collect::<String>().trim_end())?;
        }
        let cart = column(self.position).clamp(3, WIDTH - 4);
        writeln!(f, "  {}▟█████▙", " ".repeat(cart - 3))?;
        let (position, degrees) = (self.position, self.angle.to_degrees());
        writeln!(f, "  {}\n  {position:+.2} m, {degrees:+.1}°", "━".repeat(WIDTH))
    }
}

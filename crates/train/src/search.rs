//! Search for good settings.

use std::fmt;
use std::time::Instant;

use dendra_tensor::{Error, Result, Rng};

use crate::callback::guarded;
use crate::monitor::Goal;

/// The value of one setting.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// A name.
    Text(String),
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) if *number != 0.0 && !(1e-3..1e6).contains(&number.abs()) => {
                write!(f, "{number:.3e}")
            }
            Self::Number(number) if number.fract() == 0.0 => write!(f, "{number}"),
            Self::Number(number) => write!(f, "{number:.5}"),
            Self::Text(text) => f.pad(text),
        }
    }
}

/// The source of the values of a setting.
#[derive(Clone, Debug)]
enum Range {
    Of(Vec<Value>),
    Uniform(f64, f64),
    LogUniform(f64, f64),
    Integer(i64, i64),
}

impl Range {
    fn draw(&self, rng: &mut Rng) -> Value {
        match self {
            Self::Of(values) => values[rng.below(values.len())].clone(),
            Self::Uniform(low, high) => Value::Number(low + (high - low) * rng.uniform()),
            Self::LogUniform(low, high) => {
                Value::Number((low.ln() + (high / low).ln() * rng.uniform()).exp())
            }
            Self::Integer(low, high) => {
                Value::Number((low + rng.below((high - low + 1) as usize) as i64) as f64)
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Of(values) if values.is_empty() => Err("expected at least one value".to_owned()),
            Self::Uniform(low, high) if !(low <= high && (high - low).is_finite()) => {
                Err(format!("expected low ≤ high, got {low} and {high}"))
            }
            Self::LogUniform(low, high) if !(*low > 0.0 && low <= high && high.is_finite()) => {
                Err(format!("expected 0 < low ≤ high, got {low} and {high}"))
            }
            Self::Integer(low, high) if !(0..i64::MAX).contains(&high.saturating_sub(*low)) => {
                Err(format!("expected low ≤ high, not too far apart, got {low} and {high}"))
            }
            _ => Ok(()),
        }
    }
}

/// Tries combinations of settings and compares their scores: all combinations,
/// or some drawn at random.
///
/// ```
/// use dendra_datasets::{Dataset, moons};
/// use dendra_losses::CrossEntropy;
/// use dendra_nn::Sequential;
/// use dendra_optim::Adam;
/// use dendra_tensor::Rng;
/// use dendra_train::{Fit, Goal, Search, Trainer};
///
/// let data = moons(200, 0.1, 7)?;
/// let (train, validation) = data.split(0.8, &mut Rng::seed(1))?;
/// let trials = Search::new(Goal::Lowest)
///     .integer("width", 4, 64)
///     .log_uniform("learning rate", 1e-4, 1e-1)
///     .random(5, 42, |settings| {
///         let width = settings.number("width")? as usize;
///         let rate = settings.number("learning rate")?;
///         let model =
///             Sequential::input([2]).dense(width).relu().dense(2).build(&mut Rng::seed(1))?;
///         let mut trainer: Trainer<_, _, _> =
///             Trainer::new(model, Adam::new(rate), CrossEntropy::new());
///         trainer.fit(&train, Fit::epochs(5).quiet())?;
///         Ok(trainer.evaluate(&validation)?.loss)
///     })?;
/// println!("{trials}");
/// assert!(trials.best()?.score? < 0.7);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a search is run by `grid` or `random`"]
pub struct Search {
    goal: Goal,
    ranges: Vec<(String, Range)>,
}

impl Search {
    /// A search for the lowest or the highest score.
    pub fn new(goal: Goal) -> Self {
        Self { goal, ranges: Vec::new() }
    }

    /// A setting with these values.
    pub fn values<V: Into<Value>>(
        self,
        name: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        self.range(name, Range::Of(values.into_iter().map(Into::into).collect()))
    }

    /// A setting uniformly distributed between two numbers.
    pub fn uniform(self, name: impl Into<String>, low: f64, high: f64) -> Self {
        self.range(name, Range::Uniform(low, high))
    }

    /// A setting whose logarithm is uniformly distributed, which suits learning
    /// rates.
    pub fn log_uniform(self, name: impl Into<String>, low: f64, high: f64) -> Self {
        self.range(name, Range::LogUniform(low, high))
    }

    /// An integer setting between two bounds, both included.
    pub fn integer(self, name: impl Into<String>, low: i64, high: i64) -> Self {
        self.range(name, Range::Integer(low, high))
    }

    fn range(mut self, name: impl Into<String>, range: Range) -> Self {
        self.ranges.push((name.into(), range));
        self
    }

    fn check(&self) -> Result<()> {
        for (name, range) in &self.ranges {
            range
                .check()
                .map_err(|message| Error::argument("Search", format!("`{name}`: {message}")))?;
        }
        Ok(())
    }

    /// Tries every combination; the last setting changes fastest. A trial that
    /// fails or panics gets its error as the score, and the search continues.
    ///
    /// # Errors
    ///
    /// When a setting is not a list of values, or the list is empty.
    pub fn grid(self, mut score: impl FnMut(&TrialSettings) -> Result<f64>) -> Result<Trials> {
        self.check()?;
        let mut all = vec![TrialSettings(Vec::new())];
        for (name, range) in &self.ranges {
            let Range::Of(values) = range else {
                let message = format!("expected a list of values for `{name}`, got a range");
                return Err(Error::argument("Search::grid", message));
            };
            let with = |settings: &TrialSettings, value: &Value| {
                let mut settings = settings.clone();
                settings.0.push((name.clone(), value.clone()));
                settings
            };
            all = all
                .iter()
                .flat_map(|settings| values.iter().map(move |value| with(settings, value)))
                .collect();
        }
        let trials = all.into_iter().map(|settings| Trial::of(settings, &mut score)).collect();
        Ok(Trials { goal: self.goal, trials })
    }

    /// Tries this many combinations, drawn at random with a seed. A trial that
    /// fails or panics gets its error as the score, and the search continues.
    ///
    /// Source: Bergstra and Bengio, "Random search for hyper-parameter
    /// optimization", 2012.
    ///
    /// # Errors
    ///
    /// When a setting has no values.
    pub fn random(
        self,
        trials: usize,
        seed: u64,
        mut score: impl FnMut(&TrialSettings) -> Result<f64>,
    ) -> Result<Trials> {
        self.check()?;
        let draw = |trial: usize| {
            let mut rng = Rng::seed(seed).fork(trial as u64);
            let values =
                self.ranges.iter().map(|(name, range)| (name.clone(), range.draw(&mut rng)));
            TrialSettings(values.collect())
        };
        let trials = (0..trials).map(|trial| Trial::of(draw(trial), &mut score)).collect();
        Ok(Trials { goal: self.goal, trials })
    }
}

/// The settings of a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialSettings(Vec<(String, Value)>);

impl TrialSettings {
    /// A setting.
    ///
    /// # Errors
    ///
    /// When there is no setting of this name.
    pub fn get(&self, name: &str) -> Result<&Value> {
        let found = self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
            let message = format!("there is no setting `{name}`, only `{}`", names.join("`, `"));
            Error::argument("Search", message)
        })
    }

    /// A setting that is a number.
    ///
    /// # Errors
    ///
    /// When there is no setting of this name, or it is text.
    pub fn number(&self, name: &str) -> Result<f64> {
        match self.get(name)? {
            Value::Number(number) => Ok(*number),
            Value::Text(text) => Err(Error::argument(
                "Search",
                format!("expected a number for `{name}`, got the text {text:?}"),
            )),
        }
    }

    /// A setting that is text.
    ///
    /// # Errors
    ///
    /// When there is no setting of this name, or it is a number.
    pub fn text(&self, name: &str) -> Result<&str> {
        match self.get(name)? {
            Value::Text(text) => Ok(text),
            Value::Number(number) => Err(Error::argument(
                "Search",
                format!("expected a text for `{name}`, got the number {number}"),
            )),
        }
    }
}

/// The result of one combination of settings.
#[derive(Debug)]
pub struct Trial {
    /// The settings.
    pub settings: TrialSettings,
    /// The score, or the error of the trial.
    pub score: Result<f64>,
    /// The time it took, in seconds.
    pub seconds: f64,
}

impl Trial {
    fn of(settings: TrialSettings, score: &mut impl FnMut(&TrialSettings) -> Result<f64>) -> Self {
        let start = Instant::now();
        let score = guarded(|| "trial".to_owned(), || score(&settings));
        Self { settings, score, seconds: start.elapsed().as_secs_f64() }
    }
}

/// All trials of a search, in the order in which they ran. They print as a
/// table, the best first.
#[derive(Debug)]
pub struct Trials {
    goal: Goal,
    /// The trials.
    pub trials: Vec<Trial>,
}

impl Trials {
    /// The trials, the best first, and those that failed or scored NaN last.
    pub fn ranked(&self) -> Vec<&Trial> {
        let mut ranked: Vec<&Trial> = self.trials.iter().collect();
        let worst = f64::INFINITY;
        ranked.sort_by(|a, b| {
            let key = |trial: &Trial| match (&trial.score, self.goal) {
                (Ok(score), _) if score.is_nan() => worst,
                (Ok(score), Goal::Lowest) => *score,
                (Ok(score), Goal::Highest) => -score,
                (Err(_), _) => worst,
            };
            key(a).total_cmp(&key(b))
        });
        ranked
    }

    /// The best trial.
    ///
    /// # Errors
    ///
    /// When there was no trial, or all trials failed; then it is the error of
    /// the first.
    pub fn best(self) -> Result<Trial> {
        let none = || Error::argument("Search", "there was no trial");
        let best = self.ranked().first().map(|trial| trial.settings.clone()).ok_or_else(none)?;
        let found = self.trials.into_iter().find(|trial| trial.settings == best);
        let Trial { settings, score, seconds } = found.ok_or_else(none)?;
        Ok(Trial { settings, score: Ok(score?), seconds })
    }
}

impl fmt::Display for Trials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranked = self.ranked();
        let Some(first) = ranked.first() else { return f.write_str("no trials") };
        let names = first.settings.0.iter().map(|(name, _)| name.clone());
        let head: Vec<String> = names.chain(["score".to_owned(), "seconds".to_owned()]).collect();
        let rows: Vec<Vec<String>> = ranked
            .iter()
            .map(|trial| {
                let score = match &trial.score {
                    Ok(score) => format!("{score:.5}"),
                    Err(error) => error.to_string(),
                };
                let values = trial.settings.0.iter().map(|(_, value)| value.to_string());
                values.chain([score, format!("{:.2}", trial.seconds)]).collect()
            })
            .collect();
        crate::table::write(f, &head, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_tries_every_combination() {
        let mut seen = Vec::new();
        let search = Search::new(Goal::Highest).values("a", [1, 2]).values("b", ["x", "y"]);
        let trials = search
            .grid(|settings| {
                seen.push(format!("{}{}", settings.number("a")?, settings.text("b")?));
                settings.number("a")
            })
            .unwrap();
        assert_eq!(seen, ["1x", "1y", "2x", "2y"]);
        assert_eq!(trials.best().unwrap().settings.number("a").unwrap(), 2.0);
    }

    #[test]
    fn random_settings_lie_in_their_ranges_and_depend_on_the_seed() {
        let draw = |seed| {
            let search = Search::new(Goal::Lowest)
                .uniform("u", -1.0, 1.0)
                .log_uniform("l", 1e-4, 1e-1)
                .integer("i", 3, 5)
                .values("v", ["x", "y"]);
            let trials = search.random(50, seed, |_| Ok(0.0)).unwrap().trials;
            trials.into_iter().map(|trial| trial.settings).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let number =
            |name: &str| draw(1).iter().map(|s| s.number(name).unwrap()).collect::<Vec<_>>();
        assert!(number("u").iter().all(|u| (-1.0..1.0).contains(u)));
        assert!(number("l").iter().all(|l| (1e-4..=1e-1).contains(l)));
        assert!(number("l").iter().any(|l| *l < 1e-3));
        for i in [3.0, 4.0, 5.0] {
            assert!(number("i").contains(&i));
        }
    }

    #[test]
    fn a_trial_that_fails_or_panics_does_not_end_the_search() {
        let search = Search::new(Goal::Lowest).values("a", [0, 1, 2, 3]);
        let trials = search
            .grid(|settings| match settings.number("a")? {
                0.0 => Err(Error::not_finite("step 1", "the loss is not finite")),
                1.0 => panic!("on the way"),
                2.0 => Ok(f64::NAN),
                other => Ok(other),
            })
            .unwrap();
        let table = trials.to_string();
        assert!(table.lines().nth(2).unwrap().trim_start().starts_with('3'), "{table}");
        assert!(table.contains("the loss is not finite"), "{table}");
        assert!(table.contains("panicked: on the way"), "{table}");
        assert_eq!(trials.best().unwrap().score.unwrap(), 3.0);
    }

    #[test]
    fn wrong_ranges_are_named() {
        let message = |search: Search| search.random(1, 0, |_| Ok(0.0)).unwrap_err().to_string();
        let empty: [i32; 0] = [];
        assert!(message(Search::new(Goal::Lowest).values("a", empty)).contains("`a`"));
        assert!(message(Search::new(Goal::Lowest).uniform("b", 1.0, 0.0)).contains("`b`"));
        assert!(message(Search::new(Goal::Lowest).log_uniform("c", 0.0, 1.0)).contains("`c`"));
        assert!(message(Search::new(Goal::Lowest).integer("d", 2, 1)).contains("`d`"));
        let range = Search::new(Goal::Lowest).uniform("e", 0.0, 1.0);
        assert!(range.grid(|_| Ok(0.0)).unwrap_err().to_string().contains("`e`"));
    }
}

//! Learns to balance a pole on a cart by deep Q-learning, and shows the result.

use clap::Parser;
use dendra::prelude::*;

mod numbers;
#[path = "cartpole/world.rs"]
mod world;

use world::CartPole;

/// Learns to balance a pole on a cart by deep Q-learning
///
/// The task is solved when 100 consecutive episodes last 195 of at most 200
/// steps on average.
#[derive(Parser)]
struct Options {
    /// Number of episodes after which to give up
    #[arg(long, value_name = "N", default_value = "1500")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    episodes: usize,
    /// Number of remembered steps in an update
    #[arg(long, value_name = "B", default_value = "64")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    batch_size: usize,
    /// Learning rate of the optimizer
    #[arg(long, value_name = "R", default_value = "5e-4")]
    #[arg(value_parser = numbers::positive, allow_negative_numbers = true)]
    learning_rate: f64,
    /// Seed of all random numbers
    #[arg(long, value_name = "S", default_value_t = 42)]
    seed: u64,
}

/// The discount factor of a reward one step later.
const DISCOUNT: f32 = 0.99;
/// The number of steps in the replay memory.
const MEMORY: usize = 20_000;
/// Steps before learning begins.
const WARM_UP: usize = 1_000;
/// The number of steps over which the fraction of random actions decreases, and
/// the final fraction.
const EXPLORATION: (f64, f64) = (8_000.0, 0.01);
/// The number of steps between copies of the network to the target network.
const TARGET_PERIOD: usize = 500;
/// The task is solved with this mean over this number of episodes.
const SOLVED: (f64, usize) = (195.0, 100);

fn main() -> Result<()> {
    let options = Options::parse();
    let mut agent = Agent::new(&options)?;
    let mut lengths: Vec<usize> = Vec::new();
    let mut solved = false;
    println!("episode   mean of the last {}   random actions", SOLVED.1);
    while lengths.len() < options.episodes && !solved {
        lengths.push(agent.learn_from_an_episode()?);
        let recent = recent_mean(&lengths);
        solved = lengths.len() >= SOLVED.1 && recent >= SOLVED.0;
        if solved || lengths.len().is_multiple_of(25) {
            let random = 100.0 * agent.random_share();
            println!("{:>7}   {recent:>20.1}   {random:>13.1}%", lengths.len());
        }
    }
    match solved {
        true => println!("\nsolved after {} episodes, {} steps\n", lengths.len(), agent.steps),
        false => println!("\nnot solved in {} episodes\n", lengths.len()),
    }
    draw_curve(&lengths);

    let mut rng = Rng::seed(options.seed).fork(1);
    let mut total = 0;
    for _ in 0..100 {
        total += play(&agent.model, &mut rng, |_| ())?;
    }
    println!("without random actions, mean of 100 episodes: {:.1} steps\n", total as f64 / 100.0);
    let mut moments = Vec::new();
    play(&agent.model, &mut rng, |world| moments.push(world.clone()))?;
    for step in [0, moments.len() / 2, moments.len() - 1] {
        println!("step {}\n{}", step + 1, moments[step]);
    }
    Ok(())
}

/// A step in the replay memory.
#[derive(Clone)]
struct Memory {
    before: [f32; 4],
    action: i64,
    after: [f32; 4],
    /// Whether the pole fell. An episode that only reached the time limit has a
    /// future value.
    fell: bool,
}

/// A network that learns the value of each action (Mnih et al., "Human-level
/// control through deep reinforcement learning", 2015). One network chooses the
/// actions of the targets and another computes their values (van Hasselt et
/// al., "Deep reinforcement learning with double Q-learning", 2016).
struct Agent {
    model: Sequential,
    target: Sequential,
    optimizer: Adam,
    memories: Vec<Memory>,
    steps: usize,
    batch_size: usize,
    seed: u64,
    rng: Rng,
}

impl Agent {
    fn new(options: &Options) -> Result<Self> {
        let mut rng = Rng::seed(options.seed);
        let model =
            Sequential::input([4]).dense(128).relu().dense(128).relu().dense(2).build(&mut rng)?;
        Ok(Self {
            target: model.clone(),
            model,
            optimizer: Adam::new(options.learning_rate),
            memories: Vec::with_capacity(MEMORY),
            steps: 0,
            batch_size: options.batch_size,
            seed: options.seed,
            rng,
        })
    }

    /// The current fraction of random actions.
    fn random_share(&self) -> f64 {
        let (steps, least) = EXPLORATION;
        (1.0 - self.steps as f64 / steps).max(least)
    }

    /// Plays one episode, learns after every step, and returns its length.
    fn learn_from_an_episode(&mut self) -> Result<usize> {
        let mut world = CartPole::new(&mut self.rng);
        loop {
            let before = world.observe();
            let action = match self.rng.uniform() < self.random_share() {
                true => self.rng.below(2) as i64,
                false => best_action(&self.model, before)?,
            };
            world.step(action);
            let memory =
                Memory { before, action, after: world.observe(), fell: world.has_fallen() };
            match self.memories.len() {
                MEMORY => self.memories[self.steps % MEMORY] = memory,
                _ => self.memories.push(memory),
            }
            self.steps += 1;
            if self.steps >= WARM_UP {
                self.learn()?;
            }
            if self.steps.is_multiple_of(TARGET_PERIOD) {
                self.target.load_state_dict(&self.model.state_dict())?;
            }
            if world.is_over() {
                return Ok(world.steps());
            }
        }
    }

    /// One update with a batch from the replay memory.
    fn learn(&mut self) -> Result<()> {
        let count = self.memories.len();
        let batch: Vec<Memory> =
            (0..self.batch_size).map(|_| self.memories[self.rng.below(count)].clone()).collect();
        let observations = |of: fn(&Memory) -> [f32; 4]| {
            Tensor::from_vec(batch.iter().flat_map(of).collect(), [batch.len(), 4])
        };
        let column = |of: fn(&Memory) -> f32| {
            Tensor::from_vec(batch.iter().map(of).collect(), [batch.len(), 1])
        };

        let after = Var::new(observations(|memory| memory.after)?);
        let best = self.model.forward(&after)?.value().argmax(1)?.reshape([batch.len(), 1])?;
        let future = self.target.forward(&after)?.value().gather(1, &best)?;
        let goes_on = column(|memory| if memory.fell { 0.0 } else { DISCOUNT })?;
        // Each step while the pole stands has the reward 1.
        let worth = future.mul(&goes_on)?.add_scalar(1.0);

        let tape = self.optimizer.tape(self.seed);
        let values = self.model.forward(&tape.input(observations(|memory| memory.before)?))?;
        let actions = batch.iter().map(|memory| memory.action).collect();
        let values = values.gather(1, &Tensor::from_vec(actions, [batch.len(), 1])?)?;
        let gradients = losses::huber_loss(&values, &worth, 1.0)?.backward()?;
        self.optimizer.step(&mut self.model, &gradients)
    }
}

/// The action with the highest value.
fn best_action(model: &Sequential, observation: [f32; 4]) -> Result<i64> {
    let values = model.forward(&Var::new(Tensor::from([observation])))?;
    values.value().argmax(1)?.reshape([])?.item()
}

/// Plays one episode without random actions, and returns its length.
fn play(model: &Sequential, rng: &mut Rng, mut seen: impl FnMut(&CartPole)) -> Result<usize> {
    let mut world = CartPole::new(rng);
    while !world.is_over() {
        world.step(best_action(model, world.observe())?);
        seen(&world);
    }
    Ok(world.steps())
}

fn recent_mean(lengths: &[usize]) -> f64 {
    let recent = &lengths[lengths.len().saturating_sub(SOLVED.1)..];
    recent.iter().sum::<usize>() as f64 / recent.len() as f64
}

/// Draws the lengths of the episodes, one column for each group of episodes.
fn draw_curve(lengths: &[usize]) {
    let group = lengths.len().div_ceil(72).max(1);
    let means: Vec<f64> = lengths
        .chunks(group)
        .map(|chunk| chunk.iter().sum::<usize>() as f64 / chunk.len() as f64)
        .collect();
    for level in (0..10).rev() {
        let floor = 20.0 * level as f64;
        let line: String = means
            .iter()
            .map(|mean| match mean - floor {
                above if above >= 20.0 => '█',
                above if above >= 10.0 => '▄',
                _ => ' ',
            })
            .collect();
        println!("{:>5} │{}", floor + 20.0, line.trim_end());
    }
    println!("steps └{}\n       {group} episodes a column\n", "─".repeat(means.len()));
}

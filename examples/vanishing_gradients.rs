//! Shows why a deep network of sigmoids does not learn, and remedies.

use clap::Parser;
use dendra::prelude::*;
use dendra::train::Chart;

mod numbers;

/// Measures how gradients vanish in a deep network, and trains it with
/// remedies: ReLU, Kaiming initialisation, batch normalisation, residual
/// connections
#[derive(Parser)]
struct Arguments {
    /// Hidden layers of the network
    #[arg(long, value_name = "N", default_value = "20")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    depth: usize,
    /// Number of units in a hidden layer
    #[arg(long, value_name = "N", default_value = "32")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    width: usize,
    /// Number of epochs
    #[arg(long, value_name = "N", default_value = "40")]
    #[arg(value_parser = numbers::at_least::<1, u64>, allow_negative_numbers = true)]
    epochs: u64,
    /// Learning rate of Adam at the start; it falls to 0 along a cosine
    #[arg(long, value_name = "R", default_value = "0.001")]
    #[arg(value_parser = numbers::positive, allow_negative_numbers = true)]
    learning_rate: f64,
    /// Seed of all random numbers
    #[arg(long, value_name = "S", default_value_t = 42)]
    seed: u64,
    /// File for the picture
    #[arg(long, value_name = "FILE", default_value = "vanishing_gradients.svg")]
    picture: String,
}

/// The settings of a network.
#[derive(Clone, Copy)]
struct Recipe {
    name: &'static str,
    activation: fn(&Var) -> Var,
    kaiming: bool,
    batch_norm: bool,
    residual: bool,
}

const PLAIN: Recipe = Recipe {
    name: "sigmoid",
    activation: Var::sigmoid,
    kaiming: false,
    batch_norm: false,
    residual: false,
};

const RECIPES: [Recipe; 5] = [
    PLAIN,
    Recipe { name: "ReLU", activation: Var::relu, ..PLAIN },
    Recipe { name: "ReLU, Kaiming initialisation", activation: Var::relu, kaiming: true, ..PLAIN },
    Recipe { name: "sigmoid, batch normalisation", batch_norm: true, ..PLAIN },
    Recipe { name: "sigmoid, residual connections", residual: true, ..PLAIN },
];

/// One hidden layer.
#[derive(Parameters)]
struct Block {
    linear: Linear,
    norm: Option<BatchNorm1d>,
    #[parameters(skip)]
    recipe: Recipe,
}

impl Module for Block {
    fn forward(&self, x: &Var) -> Result<Var> {
        let mut y = self.linear.forward(x)?;
        if let Some(norm) = &self.norm {
            y = norm.forward(&y)?;
        }
        let y = (self.recipe.activation)(&y);
        if self.recipe.residual { y.add(x) } else { Ok(y) }
    }
}

#[derive(Parameters)]
struct Deep {
    input: Linear,
    hidden: Vec<Block>,
    output: Linear,
}

impl Deep {
    fn new(recipe: Recipe, arguments: &Arguments, classes: usize) -> Result<Self> {
        let mut rng = Rng::seed(arguments.seed);
        let width = arguments.width;
        let mut hidden = Vec::with_capacity(arguments.depth);
        for _ in 0..arguments.depth {
            let linear = Linear::new(width, width).init(&mut rng)?;
            let norm = recipe.batch_norm.then(|| BatchNorm1d::new(width).init(&mut rng));
            hidden.push(Block { linear, norm: norm.transpose()?, recipe });
        }
        if recipe.kaiming {
            initialise(&mut hidden, &mut rng, |name, _| {
                let kaiming = Init::KaimingNormal { negative_slope: 0.0 };
                Some(if name.ends_with("weight") { kaiming } else { Init::Zeros })
            });
        }
        let input = Linear::new(2, width).init(&mut rng)?;
        Ok(Self { input, hidden, output: Linear::new(width, classes).init(&mut rng)? })
    }

    /// The norm of the gradient of each hidden layer's weight.
    fn gradient_norms(&self, x: &Tensor, labels: &Tensor<i64>) -> Result<Vec<f64>> {
        let logits = self.forward(&Tape::training(0, 0).input(x.clone()))?;
        let gradients = losses::cross_entropy(&logits, labels)?.backward()?;
        let norm = |block: &Block| {
            let gradient = gradients.get(&block.linear.weight);
            gradient.map_or(0.0, |gradient| {
                let squares = gradient.to_vec().into_iter().map(|g| f64::from(g).powi(2));
                squares.sum::<f64>().sqrt()
            })
        };
        Ok(self.hidden.iter().map(norm).collect())
    }
}

impl Module for Deep {
    fn forward(&self, x: &Var) -> Result<Var> {
        let mut x = self.input.forward(x)?;
        for block in &self.hidden {
            x = block.forward(&x)?;
        }
        self.output.forward(&x)
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    dendra::nn::check_writable(&arguments.picture)?;
    const CLASSES: usize = 3;
    const BATCH_SIZE: usize = 32;
    let data = spirals(3_000, CLASSES, 0.02, arguments.seed)?;
    let (train, validation) = data.split(0.75, &mut Rng::seed(arguments.seed))?;
    let (x, labels) = train.batch(&(0..256).collect::<Vec<_>>())?;

    let depth = arguments.depth;
    println!("three spirals, {depth} hidden layers of {}\n", arguments.width);
    println!("{:32}{:^33}  accuracy", "", "gradient norm before training");
    let layers = [0, depth / 2, depth - 1];
    let [first, middle, last] = layers.map(|layer| format!("layer {}", layer + 1));
    println!("{:32}{first:>11}{middle:>11}{last:>11}  after training", "");
    let mut chart = Chart::new("hidden layer", "gradient norm")
        .title("Norm of the gradient by each layer's weight, before training")
        .logarithmic(true);
    for recipe in RECIPES {
        let model = Deep::new(recipe, &arguments, CLASSES)?;
        let norms = model.gradient_norms(&x, &labels)?;
        let fit = Fit::epochs(arguments.epochs).batch_size(BATCH_SIZE).seed(arguments.seed);
        let steps = arguments.epochs * train.len().div_ceil(BATCH_SIZE) as u64;
        // With a constant rate, the result of so deep a network would depend on
        // chance.
        let schedule = CosineAnnealingLR::new(steps);
        let adam = Adam::new(arguments.learning_rate).schedule(schedule);
        let mut trainer = Trainer::new(model, adam, CrossEntropy::new()).metric(Accuracy::new());
        trainer.fit(&train, fit.quiet())?;
        let accuracy = trainer.evaluate(&validation)?.metric("accuracy")?;
        print!("{:32}", recipe.name);
        layers.iter().for_each(|&layer| print!("{:>11.1e}", norms[layer]));
        println!("  {:>8.1}%", 100.0 * accuracy);
        let points = norms.iter().enumerate().map(|(layer, &norm)| ((layer + 1) as f64, norm));
        chart = chart.line(recipe.name, points);
    }

    chart.to_svg()?.save(&arguments.picture)?;
    println!("\ndrew {}", arguments.picture);
    Ok(())
}

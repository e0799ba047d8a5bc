//! Classifies handwritten digits by federated averaging: many clients train on
//! their own pictures, which they do not share.

use dendra::prelude::*;
use dendra::privacy::federated::{Federation, LocalTraining, divide_by_label, divide_evenly};

mod options;

#[derive(clap::Args, Debug)]
struct More {
    #[command(flatten)]
    digits: options::Digits,
    /// Number of clients among which the training pictures are divided
    #[arg(long, value_name = "K", default_value = "100")]
    clients: usize,
    /// Fraction of the clients that take part in a round
    #[arg(long, value_name = "C", default_value = "0.1")]
    fraction: f64,
    /// Number of rounds
    #[arg(long, value_name = "R", default_value = "20")]
    rounds: u64,
    /// Give each client pictures of only two digits
    #[arg(long)]
    sorted: bool,
    /// Weight of the penalty on the distance to the global model (FedProx)
    #[arg(long, value_name = "MU", default_value = "0")]
    proximal: f64,
}

fn main() -> Result<()> {
    let options = options::Options::<More>::with_defaults(
        "Trains a convolutional network on MNIST by federated averaging",
        &[("epochs", "5"), ("learning_rate", "0.1"), ("batch_size", "10")],
    );
    let more = &options.more;
    let mnist = more.digits.load()?;
    let divided = match more.sorted {
        true => divide_by_label(&mnist.train.labels().to_vec(), more.clients, 2, options.seed)?,
        false => divide_evenly(mnist.train.len(), more.clients, options.seed)?,
    };

    let model = Sequential::input([1, 28, 28])
        .conv2d(32, 5)
        .relu()
        .max_pool2d(2)
        .conv2d(64, 5)
        .relu()
        .max_pool2d(2)
        .flatten()
        .dense(512)
        .relu()
        .dense(10)
        .build(&mut Rng::seed(options.seed))?;

    // The server takes the mean of the clients' weights.
    let mut federation =
        Federation::new(model, SGD::new(1.0)).fraction(more.fraction).seed(options.seed);
    let local = LocalTraining::new(options.learning_rate)
        .epochs(options.epochs)
        .batch_size(options.batch_size)
        .proximal(more.proximal)
        .seed(options.seed);
    for _ in 0..more.rounds {
        let round = federation.round(more.clients, |task, model| {
            let pictures = mnist.train.subset(divided[task.client].clone())?;
            local.train(task, model, &CrossEntropy::new(), &pictures)
        })?;
        for (client, reason) in &round.dropped {
            println!("client {client} dropped out: {reason}");
        }
        let mut accuracy = Accuracy::new();
        for batch in DataLoader::new(&mnist.test).batch_size(1000).epoch(0) {
            let (x, y) = batch?;
            accuracy.update(federation.model().forward(&Var::new(x))?.value(), &y)?;
        }
        println!(
            "round {:3}  {} clients  {} pictures  test accuracy {:.2}%",
            round.number + 1,
            round.clients.len(),
            round.samples,
            100.0 * accuracy.value()
        );
    }
    Ok(())
}

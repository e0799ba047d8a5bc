//! Classifies handwritten digits by federated averaging: many clients train on
//! their own pictures, which they do not share, in one process or in several.

use std::net::SocketAddr;
use std::process::{Child, Command};

use dendra::prelude::*;
use dendra::privacy::federated::http::{Client, Server, Settings};
use dendra::privacy::federated::{
    Federation, LocalTraining, Participant, Round, SecureAggregation, Task, divide_by_label,
    divide_evenly,
};
use dendra::privacy::{Accountant, Plan, Privacy};

mod options;

/// The probability with which a guarantee may fail.
const DELTA: f64 = 1e-3;

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
    /// End with the first round that reaches this test accuracy, in percent
    #[arg(long, value_name = "PERCENT")]
    target: Option<f64>,
    /// Give each client pictures of only two digits
    #[arg(long)]
    sorted: bool,
    /// Weight of the penalty on the distance to the global model (FedProx)
    #[arg(long, value_name = "MU", default_value = "0")]
    proximal: f64,
    /// Start this many processes for the clients, which talk to this one over HTTP
    #[arg(long, value_name = "N", conflicts_with_all = ["listen", "join"])]
    processes: Option<usize>,
    /// Wait for clients at this address, such as 127.0.0.1:7070
    #[arg(long, value_name = "ADDRESS", conflicts_with = "join")]
    listen: Option<SocketAddr>,
    /// Be the process of some clients of the server at this address
    #[arg(long, value_name = "URL")]
    join: Option<String>,
    /// Which of the clients this process is: the first one and how many
    #[arg(long, num_args = 2, value_names = ["FIRST", "COUNT"], default_values = ["0", "100"])]
    part: Vec<usize>,
    /// Hide the changes of the clients from the server, which learns their sum
    #[arg(long)]
    secure: bool,
    /// Noise that hides whether a client takes part, relative to the norm of its
    /// change
    #[arg(long, value_name = "Z")]
    noise: Option<f64>,
    /// The norm to which the change of a client is clipped, if there is noise
    #[arg(long, value_name = "S", default_value = "1")]
    max_norm: f64,
}

type Options = options::Options<More>;

fn network(seed: u64) -> Result<Sequential> {
    Sequential::input([1, 28, 28])
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
        .build(&mut Rng::seed(seed))
}

/// Starts this program once more for each part of the clients.
fn start_clients(processes: usize, clients: usize, address: SocketAddr) -> Result<Vec<Child>> {
    let failed = |error| Error::io("federated_digits", error);
    let program = std::env::current_exe().map_err(failed)?;
    let ends = (0..=processes).map(|process| process * clients / processes).collect::<Vec<_>>();
    let start = |part: &[usize]| {
        let mut command = Command::new(&program);
        // The same settings; what is given twice counts as given last.
        let given = std::env::args_os().skip(1);
        let own = given.scan(false, |skip, argument| {
            let value = std::mem::replace(skip, argument == "--processes");
            let joined = argument.to_string_lossy().starts_with("--processes=");
            Some((!value && !*skip && !joined).then_some(argument))
        });
        command.args(own.flatten()).arg("--join").arg(format!("http://{address}"));
        command.arg("--part").arg(part[0].to_string()).arg((part[1] - part[0]).to_string());
        command.spawn().map_err(failed)
    };
    ends.windows(2).filter(|part| part[0] < part[1]).map(start).collect()
}

fn main() -> Result<()> {
    let options = Options::with_defaults(
        "Trains a convolutional network on MNIST by federated averaging",
        &[("epochs", "5"), ("learning_rate", "0.1"), ("batch_size", "10")],
    );
    let more = &options.more;
    let mnist = more.digits.load()?;
    let divided = match more.sorted {
        true => divide_by_label(&mnist.train.labels().to_vec(), more.clients, 2, options.seed)?,
        false => divide_evenly(mnist.train.len(), more.clients, options.seed)?,
    };
    let local = LocalTraining::new(options.learning_rate)
        .epochs(options.epochs)
        .batch_size(options.batch_size)
        .proximal(more.proximal)
        .seed(options.seed);
    let mut train = |task: Task, model: &mut Sequential| {
        let pictures = mnist.train.subset(divided[task.client].clone())?;
        local.train(task, model, &CrossEntropy::new(), &pictures)
    };
    let model = network(options.seed)?;
    if let (Some(url), [first, count]) = (&more.join, &more.part[..]) {
        let mut participant = Participant::new(model, train);
        if more.secure {
            participant = participant.secure_only();
        }
        return Client::new(url).serve(*first..first + count, &mut participant);
    }

    // The server takes the mean of the clients' weights.
    let mut federation =
        Federation::new(model, SGD::new(1.0)).fraction(more.fraction).seed(options.seed);
    if more.secure {
        federation = federation.secure(SecureAggregation::new());
    }
    if let Some(noise_multiplier) = more.noise {
        let (samples, sample_rate) = (more.clients, more.fraction);
        let plan = Plan { samples, sample_rate, noise_multiplier, max_norm: more.max_norm };
        federation = federation.private(Privacy::new(plan)?);
    }
    let address = match more.processes {
        Some(_) => Some(([127, 0, 0, 1], 0).into()),
        None => more.listen,
    };
    let settings =
        address.map(|address| Settings { address, clients: more.clients, ..Settings::default() });
    let mut server = settings.map(Server::start).transpose()?;
    let mut processes = Vec::new();
    if let Some(server) = &server {
        println!("waits for clients at http://{}", server.address());
        if let Some(count) = more.processes {
            processes = start_clients(count.max(1), more.clients, server.address())?;
        }
    }
    for _ in 0..more.rounds {
        let round = match &mut server {
            Some(server) => federation.round_over(more.clients, server)?,
            None => federation.round(more.clients, &mut train)?,
        };
        let accuracy = 100.0 * tested(federation.model(), &mnist)?;
        report(&round, accuracy);
        if more.target.is_some_and(|target| accuracy >= target) {
            break;
        }
    }
    // The clients end when the server does.
    drop(server);
    for mut process in processes {
        process.wait().map_err(|error| Error::io("a client", error))?;
    }
    if let Some(privacy) = federation.privacy() {
        let epsilon = privacy.epsilon(Accountant::Prv, DELTA)?;
        println!("epsilon {epsilon:.2} at delta {DELTA} for a client");
    }
    Ok(())
}

fn tested(model: &Sequential, mnist: &Mnist) -> Result<f64> {
    let mut accuracy = Accuracy::new();
    for batch in DataLoader::new(&mnist.test).batch_size(1000).epoch(0) {
        let (x, y) = batch?;
        accuracy.update(model.forward(&Var::new(x))?.value(), &y)?;
    }
    Ok(accuracy.value())
}

fn report(round: &Round, accuracy: f64) {
    for (client, reason) in &round.dropped {
        println!("client {client} dropped out: {reason}");
    }
    println!(
        "round {:3}  {} clients  {} pictures  test accuracy {accuracy:.2}%",
        round.number + 1,
        round.clients.len(),
        round.samples,
    );
}

//! Guesses which pictures a network was trained on, and shows that private
//! training prevents it.

use dendra::datasets::Subset;
use dendra::prelude::*;
use dendra::privacy::attack::{Roc, Shadow, confidences, likelihood_ratios, most_advantage};
use dendra::privacy::{Accountant, Budget, Plan, Privacy};
use dendra::train::Chart;

mod options;

const PICTURE: &str = "membership_inference.svg";

#[derive(clap::Args, Debug)]
struct More {
    #[command(flatten)]
    digits: options::Digits,
    /// Number of pictures on which each network is trained; as many others are
    /// kept from it
    #[arg(long, value_name = "N", default_value = "500")]
    members: usize,
    /// Number of networks, each of which is attacked with the others as shadows
    #[arg(long, value_name = "K", default_value = "16")]
    models: usize,
    /// The privacy loss that a private training may cause
    #[arg(long, value_name = "E", default_value = "4")]
    epsilon: f64,
    /// The probability with which the guarantee may fail
    #[arg(long, value_name = "D", default_value = "0.0001")]
    delta: f64,
}

type Options = options::Options<More>;

/// The pictures, members and others.
type Pool<'a> = &'a dyn Dataset<Input = Tensor, Target = Tensor<i64>>;

/// Trains a network on a random half of the pool.
fn train(options: &Options, pool: Pool, seed: u64, plan: Option<Plan>) -> Result<Trained> {
    let mut member = vec![false; pool.len()];
    let mut members = Rng::seed(options.seed).fork(seed).permutation(pool.len());
    members.truncate(options.more.members);
    members.iter().for_each(|&index| member[index] = true);
    let model = Sequential::input([1, 28, 28])
        .flatten()
        .dense(128)
        .tanh()
        .dense(10)
        .build(&mut Rng::seed(options.seed).fork(1).fork(seed))?;
    let mut trainer = Trainer::new(model, Adam::new(options.learning_rate), CrossEntropy::new());
    let mut privacy = plan.map(Privacy::new).transpose()?;
    let mut fit = options.fit().seed(seed).quiet();
    if let Some(privacy) = &mut privacy {
        fit = fit.gradients(privacy);
    }
    trainer.fit(&Subset::new(pool, members.clone())?, fit)?;
    let model = trainer.into_parts().0;
    let (pictures, labels) = pool.batch(&(0..pool.len()).collect::<Vec<_>>())?;
    let logits = model.forward(&Var::new(pictures))?;
    let mut accuracy = Accuracy::new();
    let own = logits.value().index_select(0, &members)?;
    accuracy.update(&own, &labels.index_select(0, &members)?)?;
    Ok(Trained {
        accuracy: accuracy.value(),
        shadow: Shadow { confidences: confidences(logits.value(), &labels)?, member },
        model,
    })
}

struct Trained {
    model: Sequential,
    /// The accuracy in training.
    accuracy: f64,
    shadow: Shadow,
}

/// The accuracies in training and on other pictures, and the two attacks.
struct Outcome {
    accuracy: [f64; 2],
    by_loss: Roc,
    by_ratio: Roc,
}

fn attack(options: &Options, pool: Pool, test: Pool, plan: Option<Plan>) -> Result<Outcome> {
    let models = (0..options.more.models as u64).map(|seed| train(options, pool, seed, plan));
    let models = models.collect::<Result<Vec<_>>>()?;
    // Scores of members and of others, by the loss and by the ratio.
    let mut scores = [const { [const { Vec::new() }; 2] }; 2];
    let mut right = [0.0; 2];
    for (target, Trained { model, accuracy, shadow }) in models.iter().enumerate() {
        let others = models.iter().enumerate().filter(|(index, _)| *index != target);
        let others: Vec<&Shadow> = others.map(|(_, trained)| &trained.shadow).collect();
        // Few networks may leave a picture that all or none of them know.
        let known = |sample: &usize| {
            let inside = others.iter().filter(|shadow| shadow.member[*sample]).count();
            0 < inside && inside < others.len()
        };
        let kept: Vec<usize> = (0..pool.len()).filter(known).collect();
        let keep = |of: &Shadow| Shadow {
            confidences: kept.iter().map(|&sample| of.confidences[sample]).collect(),
            member: kept.iter().map(|&sample| of.member[sample]).collect(),
        };
        let shadows: Vec<Shadow> = others.iter().map(|shadow| keep(shadow)).collect();
        let attacked = keep(shadow);
        let ratios = likelihood_ratios(&attacked.confidences, &shadows)?;
        for (attack, found) in [&attacked.confidences, &ratios].into_iter().enumerate() {
            for (score, member) in found.iter().zip(&attacked.member) {
                scores[attack][usize::from(!member)].push(*score);
            }
        }
        right[0] += accuracy;
        let mut accuracy = Accuracy::new();
        for batch in DataLoader::new(test).batch_size(1000).epoch(0) {
            let (x, y) = batch?;
            accuracy.update(model.forward(&Var::new(x))?.value(), &y)?;
        }
        right[1] += accuracy.value();
    }
    let [by_loss, by_ratio] = scores.map(|[members, others]| Roc::new(&members, &others));
    let accuracy = right.map(|sum| sum / models.len() as f64);
    Ok(Outcome { accuracy, by_loss: by_loss?, by_ratio: by_ratio? })
}

fn main() -> Result<()> {
    let options = Options::with_defaults(
        "Guesses which digits a network was trained on, without and with private training",
        &[("epochs", "60"), ("learning_rate", "0.002"), ("batch_size", "50")],
    );
    dendra::nn::check_writable(PICTURE)?;
    let More { members, models, epsilon, delta, .. } = options.more;
    let mnist = options.more.digits.load()?;
    let (pool, test) = (mnist.train.take(2 * members), mnist.test.take(5_000));
    println!("{models} networks, each trained on {members} of {} digits", pool.len());

    let budget = Budget { epsilon, delta };
    let (epochs, batch) = (options.epochs, options.batch_size);
    let plan = Plan::for_budget(members, batch, epochs, Accountant::Prv, budget)?;
    println!("private: epsilon {epsilon} at delta {delta}, noise {:.2}", plan.noise_multiplier);
    println!(
        "\n{:12}{:>10}{:>10}{:>22}{:>26}",
        "", "training", "test", "advantage", "found with 1% false alarm"
    );
    println!(
        "{:12}{:>20}{:>12}{:>10}{:>16}{:>10}",
        "", "accuracy", "loss", "ratio", "loss", "ratio"
    );
    let mut lines = Vec::new();
    for (name, plan) in [("plain", None), ("private", Some(plan))] {
        let Outcome { accuracy, by_loss, by_ratio } = attack(&options, &pool, &test, plan)?;
        let percent = |share: f64| format!("{:.1}%", 100.0 * share);
        println!(
            "{name:12}{:>10}{:>10}{:>12.3}{:>10.3}{:>16}{:>10}",
            percent(accuracy[0]),
            percent(accuracy[1]),
            by_loss.advantage(),
            by_ratio.advantage(),
            percent(by_loss.true_positive_rate(0.01)),
            percent(by_ratio.true_positive_rate(0.01)),
        );
        lines.push((format!("{name}, by the loss"), by_loss));
        lines.push((format!("{name}, by likelihoods"), by_ratio));
    }
    let most = most_advantage(epsilon, delta);
    println!("\non average, no attack on such private networks has an advantage above {most:.3}");

    let chart = |title: &str, most: f64| {
        let chart = Chart::new("others that are taken for members", "members that are found");
        let chart = chart.title(title).percent(true).ranges((0.0, most), (0.0, 1.0));
        let chart = chart.guide([(0.0, 0.0), (most, most)]);
        lines.iter().fold(chart, |chart, (name, roc)| {
            let points = roc.points().iter().copied().filter(|(wrong, _)| *wrong <= most);
            chart.line(name, points)
        })
    };
    Chart::beside(&[chart("all thresholds", 1.0), chart("few false alarms", 0.1)])?
        .save(PICTURE)?;
    println!("drew {PICTURE}");
    Ok(())
}

//! Requests that are computed in one batch get the same bits as alone.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use dendra_deploy::Network;
use dendra_nn::{Residual, Sequential};
use dendra_serve::Settings;
use dendra_tensor::Rng;

use crate::client::{ask_on, connect, floats, infer_request, metric};
use crate::{classifier, held, normal, place, serve, settings};

const CLIENTS: usize = 12;

/// Sends requests from many threads at once, with 1 to 5 samples each, and
/// compares all bits with those of each request alone. Returns the largest
/// fraction of batched requests.
fn compare(model: Sequential, sample: &[usize]) {
    let (_folder, path) = place("net.safetensors");
    model.save(&path).unwrap();
    let network = Network::load(&path).unwrap();
    let delay = Duration::from_millis(20);
    let server = serve(Settings { batch: 16, batch_delay: delay, ..settings() }, &[&path]);
    let (at, barrier) = (server.address(), Barrier::new(CLIENTS));
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (network, barrier) = (&network, &barrier);
            scope.spawn(move || {
                let mut stream = connect(at);
                for round in 0..5 {
                    let samples = 1 + (client + round) % 5;
                    let shape = [&[samples], sample].concat();
                    let x = normal(&shape, (100 * client + round) as u64);
                    barrier.wait();
                    let reply = ask_on(&mut stream, &infer_request("net", &x)).unwrap();
                    let expected = network.run(&[("input", x.into())]).unwrap();
                    let bits = |value: &dendra_deploy::Value| {
                        value.tensor::<f32>().unwrap().map(f32::to_bits).to_vec()
                    };
                    assert_eq!(bits(&floats(&reply)), bits(&expected[0]), "{client} {round}");
                }
            });
        }
    });
    let requests = metric(at, "dendra_queue_seconds_count{model=\"net\"}");
    let batches = metric(at, "dendra_batch_samples_count{model=\"net\"}");
    assert_eq!(requests, 5.0 * CLIENTS as f64);
    assert!(batches < requests, "nothing was joined: {batches} batches of {requests} requests");
}

#[test]
fn dense_layers() {
    compare(classifier(1), &[4]);
}

#[test]
fn wide_dense_layers() {
    let builder = Sequential::input([130]).dense(300).gelu().layer_norm().dense(40).softmax();
    compare(builder.build(&mut Rng::seed(1)).unwrap(), &[130]);
}

#[test]
fn convolutions() {
    let builder = Sequential::input([3, 12, 12]).conv2d(8, 3).batch_norm2d().relu().max_pool2d(2);
    let model = builder.conv2d(20, 3).relu().flatten().dense(5);
    compare(model.build(&mut Rng::seed(1)).unwrap(), &[3, 12, 12]);
}

#[test]
fn recurrent_layers_and_residuals() {
    let block = Residual::new(|block| block.dense(8).tanh());
    let builder = Sequential::input([6, 8]).layer(block).lstm(9).gru(7);
    compare(builder.last_step().dense(2).build(&mut Rng::seed(1)).unwrap(), &[6, 8]);
}

/// Of a batch, only the request that cannot be computed fails.
#[test]
fn a_failure_is_that_of_its_own_request() {
    let (_folder, path) = place("net.safetensors");
    held::save(1, &path);
    let server = serve(settings(), &[&path]);
    let at = server.address();
    let hold = held::hold(1);
    thread::scope(|scope| {
        let ask = |x: f32| {
            scope.spawn(move || {
                let x = dendra_tensor::Tensor::from_vec(vec![x; 4], [1, 4]).unwrap();
                let reply = ask_on(&mut connect(at), &infer_request("net", &x)).unwrap();
                (reply.status, reply.text())
            })
        };
        // The first request blocks the thread, the others wait and are batched.
        let first = ask(0.0);
        crate::client::eventually("the first is computed", || {
            metric(at, "dendra_batch_samples_count{model=\"net\"}") == 1.0
        });
        let others: Vec<_> = [1.0, 5000.0, 2.0].into_iter().map(ask).collect();
        crate::client::eventually("the others wait", || {
            metric(at, "dendra_queue_length{model=\"net\"}") == 3.0
        });
        drop(hold);
        assert_eq!(first.join().unwrap().0, 200);
        let replies: Vec<_> = others.into_iter().map(|other| other.join().unwrap()).collect();
        let statuses: Vec<u16> = replies.iter().map(|reply| reply.0).collect();
        assert_eq!(statuses, [200, 500, 200]);
        assert!(replies[1].1.contains("a layer that fails"), "{}", replies[1].1);
    });
    assert_eq!(metric(at, "dendra_batch_samples_count{model=\"net\"}"), 2.0);
}

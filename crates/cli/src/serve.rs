//! `dendra serve`.

use std::io::{Write, stderr};
use std::sync::Arc;

use dendra_serve::{ModelFile, Server, Settings};
use serde_json::json;

use crate::Failure;
use crate::arguments::Serve;
use crate::screen::Screen;

pub(crate) fn run(arguments: &Serve, quiet: bool, screen: Screen) -> Result<(), Failure> {
    let Serve { models, address, token, batch, workers } = arguments;
    if token.as_ref().is_some_and(|token| token.trim().is_empty()) {
        return Err(Failure::Usage("the token is empty".to_owned()));
    }
    let settings = Settings {
        address: *address,
        token: token.clone(),
        batch: *batch as usize,
        workers: *workers as usize,
        log: Arc::new(move |line| {
            if !quiet {
                // A closed terminal must not stop the server.
                let _ = writeln!(stderr(), "{line}");
            }
        }),
        ..Settings::default()
    };
    let server = models.iter().fold(Server::new(settings), |server, model| {
        server.model(match model.split_once('=') {
            Some((name, path)) => ModelFile::new(name, path),
            None => ModelFile::at(model),
        })
    });
    let running = server.start()?;
    let address = running.address();
    if !address.ip().is_loopback() && token.is_none() {
        screen.note(
            "everyone who can reach this address can use the models: --token restricts access",
        );
    }
    screen.json(&json!({ "address": format!("http://{address}") }))?;
    Ok(running.wait()?)
}

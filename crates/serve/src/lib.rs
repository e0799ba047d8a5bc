//! Models behind HTTP: networks of Dendra and ONNX models, asked by programs of
//! any language.
//!
//! The server speaks the [Open Inference Protocol] (KServe, version 2) over REST
//! with the extension for tensors as bytes, so clients of Triton and KServe, such
//! as Python's `tritonclient[http]`, work with it. `POST /predict` takes raw data:
//! JSON, text, CSV or a picture. `/` is a page to try the models by hand,
//! `/metrics` is for Prometheus, `/openapi.json` describes all addresses.
//!
//! Requests that arrive together are computed together where that changes no bit
//! of their results. Computation has threads of its own. Size, time, memory and
//! the number of waiting requests are limited by the [`Settings`]: a server that
//! has too much to do says so with status 429 or 503, and does not grow. A file
//! that changes is read again while requests go on.
//!
//! ```
//! use dendra_nn::Sequential;
//! use dendra_serve::{ModelFile, Server, Settings};
//! use dendra_tensor::Rng;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("flowers.safetensors");
//! let model = Sequential::input([4]).dense(8).relu().dense(3).build(&mut Rng::seed(1))?;
//! model.save(&path)?;
//!
//! let settings = Settings { address: "127.0.0.1:0".parse()?, ..Settings::default() };
//! let server = Server::new(settings).model(ModelFile::at(&path)).start()?;
//! println!("try http://{}", server.address());
//! server.stop(); // A program calls `wait`, which ends with Ctrl-C.
//! # Ok(())
//! # }
//! ```
//!
//! ```sh
//! curl localhost:8000/predict --json '{"rows": [[5.1, 3.5, 1.4, 0.2]]}'
//! ```
//!
//! [Open Inference Protocol]: https://github.com/kserve/open-inference-protocol
//!
//! # Features
//!
//! - `images`, `tables`, `onnx` (on by default): pictures, rows of tables, ONNX
//!   models.

mod access;
mod app;
mod failure;
mod guard;
mod infer;
mod metrics;
mod models;
mod overview;
mod predict;
mod queue;
mod router;
mod server;
mod settings;

pub use server::{Running, Server};
pub use settings::{Log, ModelFile, Settings};

//! An HTTP server for networks of Dendra and ONNX models.
//!
//! The server implements the [Open Inference Protocol] (KServe, version 2) over
//! REST with the extension for binary tensors, so that clients of Triton and
//! KServe, such as Python's `tritonclient[http]`, work with it. `POST /predict`
//! accepts raw data: JSON, text, CSV or a picture. `/` is a page to try the
//! models in a browser, `/metrics` is for Prometheus, `/openapi.json` describes
//! all paths.
//!
//! Requests that arrive together are computed in one batch if this changes no
//! bit of their results. Computation has its own threads. The [`Settings`]
//! limit sizes, times, memory and the number of waiting requests: an overloaded
//! server answers with status 429 or 503 and does not use more memory. A model
//! is reloaded when its file changes, while requests continue.
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

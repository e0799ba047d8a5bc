//! `POST /predict`: raw data in the format of its content type.

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dendra_deploy::{Network, Value};
use serde_json::json;

use crate::app::{App, converted};
use crate::failure::{Answered, Failure};
use crate::models::Model;
use crate::router::as_json;

/// Predicts with the only model.
pub(crate) async fn only(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    answered(&app, None, headers, body).await
}

/// Predicts with the model of this name.
pub(crate) async fn named(
    State(app): State<Arc<App>>,
    Path(model): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answered(&app, Some(&model), headers, body).await
}

async fn answered(app: &App, name: Option<&str>, headers: HeaderMap, body: Body) -> Response {
    let model = match app.models.get_or_only(name) {
        Ok(model) => model,
        Err(failure) => return failure.into_response(),
    };
    let started = Instant::now();
    let response = predicted(app, model, headers, body).await.into_response();
    model.metrics.answered(response.status(), started.elapsed());
    response
}

async fn predicted(
    app: &App,
    model: &Arc<Model>,
    headers: HeaderMap,
    body: Body,
) -> Answered<Response> {
    let (network, deadline) = (model.network()?, app.deadline());
    let kind = Kind::of(&headers)?;
    let held = app.body(&headers, body, deadline).await?;
    let coming = model.queue.announce();
    let (bytes, prepared) = (held.bytes.clone(), Arc::clone(&network));
    // Decoding a picture takes long, however small the file is.
    let size = if matches!(kind, Kind::Image) { usize::MAX } else { bytes.len() };
    let input = converted(size, move || {
        let input = (prepared.inputs()[0].name.clone(), kind.prepare(&prepared, &bytes)?);
        let inputs = vec![input];
        prepared.check(&inputs)?;
        Ok(inputs)
    })
    .await?;
    let outputs = model.queue.compute(Arc::clone(&network), input, coming, deadline).await?;
    let size = outputs.iter().map(|output| 8 * output.shape().elements()).sum();
    let name = model.name().to_owned();
    converted(size, move || {
        let answers = network.answers(&outputs)?;
        as_json(&json!({ "model": name, "answers": answers }))
    })
    .await
}

/// The format of the raw data.
#[derive(Clone, Copy)]
enum Kind {
    Json,
    Text,
    Csv,
    Image,
}

impl Kind {
    fn of(headers: &HeaderMap) -> Answered<Self> {
        let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media = text.unwrap_or("application/json").split(';').next().unwrap_or_default();
        match media.trim().to_ascii_lowercase().as_str() {
            // `curl --data` sends the content type of forms by default.
            "application/json" | "application/x-www-form-urlencoded" => Ok(Self::Json),
            "text/plain" => Ok(Self::Text),
            "text/csv" => Ok(Self::Csv),
            "image/png" | "image/jpeg" | "application/octet-stream" => Ok(Self::Image),
            other => {
                let message = format!(
                    "expected application/json, text/plain, text/csv, image/png or image/jpeg, got \
                     {other}"
                );
                Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
            }
        }
    }

    fn prepare(self, network: &Network, bytes: &Bytes) -> Answered<Value> {
        Ok(match self {
            Self::Json => network.prepare_json(bytes)?,
            Self::Text => {
                let text = std::str::from_utf8(bytes)
                    .map_err(|_| Failure::bad("the text is not UTF-8"))?;
                network.prepare_texts(&[text])?
            }
            #[cfg(feature = "tables")]
            Self::Csv => {
                let mut csv = dendra_datasets::Csv::new();
                if let dendra_datasets::AnyPreprocessing::Table(encoder) = network.preprocessing() {
                    let texts = encoder.columns().filter(|column| !column.numbers);
                    csv = csv.texts(texts.map(|column| column.name));
                }
                network.prepare_table(&csv.parse(bytes)?)?
            }
            #[cfg(feature = "images")]
            Self::Image => network.prepare_images(&[bytes])?,
            #[cfg(not(feature = "tables"))]
            Self::Csv => return Err(without("tables")),
            #[cfg(not(feature = "images"))]
            Self::Image => return Err(without("images")),
        })
    }
}

#[cfg(not(all(feature = "tables", feature = "images")))]
fn without(feature: &str) -> Failure {
    let message = format!("this server was built without the feature `{feature}`");
    Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
}

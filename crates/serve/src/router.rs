//! The paths of the server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::access;
use crate::app::{App, converted};
use crate::failure::{Answered, Failure};
use crate::infer::request::Request as InferRequest;
use crate::infer::response::{self, respond};
use crate::infer::{config, metadata};
use crate::models::{Model, VERSION};
use crate::{overview, predict};

type Shared = State<Arc<App>>;

/// All paths.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/openapi.json", get(open_api))
        .route("/metrics", get(metrics))
        .route("/models", get(overview::models))
        .route("/predict", post(predict::only))
        .route("/predict/{model}", post(predict::named))
        .route("/v2", get(server))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models/stats", get(all_statistics))
        .route("/v2/models/{model}", get(model_metadata))
        .route("/v2/models/{model}/ready", get(model_ready))
        .route("/v2/models/{model}/config", get(model_config))
        .route("/v2/models/{model}/stats", get(statistics))
        .route("/v2/models/{model}/infer", post(infer))
        .route("/v2/models/{model}/versions/{version}", get(version_metadata))
        .route("/v2/models/{model}/versions/{version}/ready", get(version_ready))
        .route("/v2/models/{model}/versions/{version}/config", get(version_config))
        .route("/v2/models/{model}/versions/{version}/stats", get(version_statistics))
        .route("/v2/models/{model}/versions/{version}/infer", post(version_infer))
        .route("/v2/repository/index", post(index))
        .route("/v2/repository/models/{model}/load", post(load))
        .route("/v2/repository/models/{model}/unload", post(unload))
        .fallback(nothing)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn_with_state(Arc::clone(&app), counted))
        .with_state(app)
}

/// Checks access, and counts the responses.
async fn counted(State(app): Shared, request: Request, next: Next) -> Response {
    let response = match access::check(&app.settings, request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    app.metrics.responded(response.status());
    response
}

async fn nothing(request: Request) -> Failure {
    Failure::not_found(format!("the path {} does not exist", request.uri().path()))
}

async fn other_method(method: Method) -> Failure {
    let message = format!("the method {method} is not allowed for this path");
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, message)
}

/// A JSON response.
pub(crate) fn as_json(value: &impl Serialize) -> Answered<Response> {
    let text = serde_json::to_vec(value).map_err(|error| Failure::internal(error.to_string()))?;
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// The page may only connect to this server.
const PAGE_POLICY: &str = "default-src 'none'; connect-src 'self'; img-src blob: data:; \
                           script-src 'unsafe-inline'; style-src 'unsafe-inline'";

async fn page() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(include_str!("page.html")))
}

async fn open_api() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}

async fn metrics(State(app): Shared) -> impl IntoResponse {
    let models: Vec<_> = app
        .models
        .iter()
        .map(|model| (model.name(), &*model.metrics, model.queue.len(), model.is_ready()))
        .collect();
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics.text(&models))
}

async fn server() -> Answered<Response> {
    as_json(&json!({
        "name": "dendra",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data", "classification", "model_configuration",
                       "model_repository", "statistics"],
    }))
}

async fn live() -> Answered<Response> {
    as_json(&json!({ "live": true }))
}

async fn ready(State(app): Shared) -> Answered<Response> {
    if app.is_ready() {
        return as_json(&json!({ "ready": true }));
    }
    Err(Failure::unavailable(match app.stopping.load(Ordering::Relaxed) {
        true => "the server is shutting down",
        false => "a model is not ready",
    }))
}

async fn model_metadata(State(app): Shared, Path(model): Path<String>) -> Answered<Response> {
    let model = app.models.get(&model, None)?;
    as_json(&metadata(model.name(), &*model.network()?))
}

async fn version_metadata(
    State(app): Shared,
    Path((model, version)): Path<(String, String)>,
) -> Answered<Response> {
    let model = app.models.get(&model, Some(&version))?;
    as_json(&metadata(model.name(), &*model.network()?))
}

fn readiness(model: &Model) -> Answered<Response> {
    model.network()?;
    as_json(&json!({ "name": model.name(), "ready": true }))
}

async fn model_ready(State(app): Shared, Path(model): Path<String>) -> Answered<Response> {
    readiness(app.models.get(&model, None)?)
}

async fn version_ready(
    State(app): Shared,
    Path((model, version)): Path<(String, String)>,
) -> Answered<Response> {
    readiness(app.models.get(&model, Some(&version))?)
}

async fn model_config(State(app): Shared, Path(model): Path<String>) -> Answered<Response> {
    let model = app.models.get(&model, None)?;
    as_json(&config(model.name(), &*model.network()?, app.settings.batch))
}

async fn version_config(
    State(app): Shared,
    Path((model, version)): Path<(String, String)>,
) -> Answered<Response> {
    let model = app.models.get(&model, Some(&version))?;
    as_json(&config(model.name(), &*model.network()?, app.settings.batch))
}

fn figures(model: &Model) -> Json {
    let mut figures = model.metrics.statistics();
    figures["name"] = json!(model.name());
    figures["version"] = json!(VERSION);
    figures
}

async fn all_statistics(State(app): Shared) -> Answered<Response> {
    let all: Vec<Json> = app.models.iter().map(|model| figures(model)).collect();
    as_json(&json!({ "model_stats": all }))
}

async fn statistics(State(app): Shared, Path(model): Path<String>) -> Answered<Response> {
    as_json(&json!({ "model_stats": [figures(app.models.get(&model, None)?)] }))
}

async fn version_statistics(
    State(app): Shared,
    Path((model, version)): Path<(String, String)>,
) -> Answered<Response> {
    as_json(&json!({ "model_stats": [figures(app.models.get(&model, Some(&version))?)] }))
}

async fn index(State(app): Shared, headers: HeaderMap, body: Body) -> Answered<Response> {
    let body = app.body(&headers, body, app.deadline()).await?;
    let only_ready = match &body.bytes[..] {
        [] => false,
        json => serde_json::from_slice::<Json>(json)
            .map_err(|error| Failure::bad(error.to_string()))?
            .get("ready")
            .and_then(Json::as_bool)
            .unwrap_or(false),
    };
    let row = |model: &Arc<Model>| {
        let (state, reason) = match model.network() {
            Ok(_) => ("READY", String::new()),
            Err(failure) => ("UNAVAILABLE", failure.message),
        };
        json!({ "name": model.name(), "version": VERSION, "state": state, "reason": reason })
    };
    let models = app.models.iter().filter(|model| !only_ready || model.is_ready());
    as_json(&models.map(row).collect::<Vec<_>>())
}

/// Loads a model again. Only the files given at the start of the server can be
/// loaded, so that a client cannot name other files.
async fn load(
    State(app): Shared,
    Path(model): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answered<Response> {
    let body = app.body(&headers, body, app.deadline()).await?;
    let refused = "`parameters` are not supported: a model is loaded from its own file";
    if !body.bytes.is_empty() {
        let json: Json =
            serde_json::from_slice(&body.bytes).map_err(|error| Failure::bad(error.to_string()))?;
        let parameters = json.get("parameters").and_then(Json::as_object);
        if parameters.is_some_and(|parameters| !parameters.is_empty()) {
            return Err(Failure::bad(refused));
        }
    }
    let model = Arc::clone(app.models.get(&model, None)?);
    converted(usize::MAX, move || Ok(model.load()?)).await?;
    Ok(StatusCode::OK.into_response())
}

async fn unload(State(app): Shared, Path(model): Path<String>) -> Answered<Response> {
    let model = Arc::clone(app.models.get(&model, None)?);
    converted(usize::MAX, move || {
        model.unload();
        Ok(())
    })
    .await?;
    Ok(StatusCode::OK.into_response())
}

async fn infer(
    State(app): Shared,
    Path(model): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match app.models.get(&model, None) {
        Ok(model) => inferred(&app, model, headers, body).await,
        Err(failure) => failure.into_response(),
    }
}

async fn version_infer(
    State(app): Shared,
    Path((model, version)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match app.models.get(&model, Some(&version)) {
        Ok(model) => inferred(&app, model, headers, body).await,
        Err(failure) => failure.into_response(),
    }
}

/// Answers an inference request, and counts it.
async fn inferred(app: &App, model: &Arc<Model>, headers: HeaderMap, body: Body) -> Response {
    let started = Instant::now();
    let result = try_infer(app, model, headers, body).await;
    let response = result.into_response();
    model.metrics.answered(response.status(), started.elapsed());
    response
}

async fn try_infer(
    app: &App,
    model: &Arc<Model>,
    headers: HeaderMap,
    body: Body,
) -> Answered<Response> {
    let (network, deadline) = (model.network()?, app.deadline());
    let length = match headers.get(response::LENGTH) {
        None => None,
        Some(value) => {
            let length = value.to_str().ok().and_then(|text| text.parse::<usize>().ok());
            let wrong = || Failure::bad("Inference-Header-Content-Length must be a number");
            Some(length.ok_or_else(wrong)?)
        }
    };
    let held = app.body(&headers, body, deadline).await?;
    let coming = model.queue.announce();
    let checked = Arc::clone(&network);
    let bytes = held.bytes.clone();
    let (request, inputs) = converted(held.bytes.len(), move || {
        let (request, inputs) = InferRequest::parse(&bytes, length)?;
        checked.check(&inputs)?;
        Ok((request, inputs))
    })
    .await?;
    let wanted = request.wanted(network.outputs().iter().map(|info| info.name.as_str()))?;
    let outputs = model.queue.compute(Arc::clone(&network), inputs, coming, deadline).await?;
    let size = outputs.iter().map(|output| 8 * output.shape().elements()).sum();
    let name = model.name().to_owned();
    converted(size, move || respond(&name, &network, &request, &wanted, outputs)).await
}

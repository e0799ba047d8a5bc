//! `GET /models`: the inputs of each model, for the page.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use dendra_datasets::AnyPreprocessing;
use dendra_deploy::{Axis, Network, TensorInfo};
use serde_json::{Value as Json, json};

use crate::app::App;
use crate::failure::Answered;
use crate::models::Model;
use crate::router::as_json;

/// All models.
pub(crate) async fn models(State(app): State<Arc<App>>) -> Answered<Response> {
    let models: Vec<Json> = app.models.iter().map(|model| described(model)).collect();
    as_json(&json!({ "models": models }))
}

fn described(model: &Model) -> Json {
    match model.network() {
        Err(failure) => json!({ "name": model.name(), "ready": false, "reason": failure.message }),
        Ok(network) => json!({
            "name": model.name(),
            "ready": true,
            "format": network.format().to_string(),
            "inputs": network.inputs().iter().map(tensor).collect::<Vec<_>>(),
            "outputs": network.outputs().iter().map(tensor).collect::<Vec<_>>(),
            "classes": network.class_names(),
            "preprocessing": network.preprocessing().kind(),
            "columns": columns(&network),
            "metadata": network.metadata(),
        }),
    }
}

fn tensor(info: &TensorInfo) -> Json {
    let axis = |axis: &Axis| match axis {
        Axis::Fixed(length) => json!(length),
        Axis::Free(name) => json!(name),
    };
    let axes: Option<Vec<Json>> = info.axes.as_ref().map(|axes| axes.iter().map(axis).collect());
    json!({ "name": info.name, "element": info.element.name(), "axes": axes })
}

/// The columns of the tables that a network expects.
fn columns(network: &Network) -> Option<Vec<Json>> {
    match network.preprocessing() {
        #[cfg(feature = "tables")]
        AnyPreprocessing::Table(encoder) => {
            let column = |column: dendra_datasets::EncodedColumn<'_>| {
                json!({
                    "name": column.name,
                    "numbers": column.numbers,
                    "categories": column.categories,
                    "optional": column.optional,
                })
            };
            Some(encoder.columns().map(column).collect())
        }
        AnyPreprocessing::None => None,
        _ => None,
    }
}

//! `GET /openapi.json` and `GET /docs`: the contract, and a page to try it on that loads nothing from elsewhere.

use std::sync::{Arc, LazyLock};

use axum::extract::Path;
use axum::response::{IntoResponse as _, Redirect, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use utoipa_swagger_ui::Config;

use crate::problem::Problem;

/// The page runs its own scripts and asks this server alone. It sets styles on its elements, and draws with `data:` images.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const CACHEABLE: HeaderValue = HeaderValue::from_static("public, max-age=3600");

static PAGE: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from("/openapi.json").validator_url("none")));

/// The serialised contract.
pub fn contract(document: Bytes) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("public, no-cache")),
    ];
    (headers, document).into_response()
}

/// The files of the page are found relative to it.
pub async fn redirect() -> Redirect {
    Redirect::permanent("/docs/")
}

pub async fn index() -> Result<Response, Problem> {
    file("index.html")
}

pub async fn asset(
    path: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Result<Response, Problem> {
    let Path(path) = path.map_err(|_| StatusCode::NOT_FOUND)?;
    file(&path)
}

fn file(path: &str) -> Result<Response, Problem> {
    let file =
        utoipa_swagger_ui::serve(path, PAGE.clone()).map_err(|error| Problem::internal(error.to_string()))?;
    let file = file.ok_or(StatusCode::NOT_FOUND)?;
    let content_type = HeaderValue::try_from(file.content_type);
    let headers = [
        (CONTENT_TYPE, content_type.unwrap_or(HeaderValue::from_static("application/octet-stream"))),
        (CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (CACHE_CONTROL, CACHEABLE),
    ];
    Ok((headers, file.bytes.into_owned()).into_response())
}

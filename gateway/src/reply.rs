//! Successful answers with a JSON body.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::problem::Problem;

/// Holds most answers without growing.
const USUAL_BODY_BYTES: usize = 512;

/// `application/json`; what may be kept, and by whom, is the route's to add.
///
/// # Errors
/// 500 for a value that JSON cannot hold.
pub fn json(status: StatusCode, value: &impl Serialize) -> Result<Response, Problem> {
    let mut body = Vec::with_capacity(USUAL_BODY_BYTES);
    serde_json::to_writer(&mut body, value).map_err(|error| Problem::internal(error.to_string()))?;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    // Room for the headers that every answer gets, so that the map does not grow step by step.
    *response.headers_mut() = HeaderMap::with_capacity(18);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

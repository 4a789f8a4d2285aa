//! `GET /v1/me/activity`: what happened to the own account.

use axum::extract::{OriginalUri, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use proto::auth::v1::{self as auth, ListActivityRequest};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::gate::SignedIn;
use crate::openapi::{ServiceProblems, SessionProblems};
use crate::problem::{Problem, ProblemDocument};
use crate::reply;
use crate::representation::Timestamp;

const USUAL_LIMIT: u32 = 50;
pub(super) const HIGHEST_LIMIT: u32 = 100;

/// What happened to the account, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct Activity<'a> {
    activity: Vec<Happened<'a>>,
    /// The `before` that goes on from here; null when there is nothing more.
    next: Option<String>,
}

/// One thing that happened.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Happened<'a> {
    /// What happened later has a higher number.
    id: String,
    /// More of them may come in time.
    #[schema(example = "LOGGED_IN")]
    event: &'a str,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Where it was asked for; null when that is not known.
    address: Option<&'a str>,
    /// What asked for it; null when that is not known.
    user_agent: Option<&'a str>,
    /// The session that it is about, or that it spared; null when there is none.
    session_id: Option<&'a str>,
}

/// Which part of it.
#[derive(Debug, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// How many at most.
    #[param(required = false, minimum = 1, maximum = 100, default = 50)]
    limit: u32,
    /// Only what happened before this: the `next` of the part before.
    #[param(required = false, value_type = String, pattern = "^[1-9][0-9]{0,18}$")]
    before: i64,
}

/// What happened to my account?
#[utoipa::path(get, path = "/v1/me/activity", operation_id = "listActivity", tag = "account", security(("bearer" = []), ("cookie" = [])),
    params(Part), responses(
    (status = 200, description = "What happened, the newest first. Something that happened a moment ago may be missing.", body = Activity),
    (status = 400, description = "`limit` or `before` is not what it can be.", body = ProblemDocument,
        content_type = "application/problem+json"),
    SessionProblems, ServiceProblems,
))]
pub async fn list(
    State(app): State<App>,
    SignedIn(session): SignedIn,
    OriginalUri(uri): OriginalUri,
) -> Result<Response, Problem> {
    let Part { limit, before } = Part::from_query(uri.query().unwrap_or_default())?;
    let request = ListActivityRequest { user_id: session.user_id, limit, before };
    let answer = app.auth.activity(request).await?;
    let activity = Activity {
        activity: answer.activity.iter().map(Happened::from).collect(),
        next: (answer.next > 0).then(|| answer.next.to_string()),
    };
    let mut response = reply::json(StatusCode::OK, &activity)?;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl<'a> From<&'a auth::Activity> for Happened<'a> {
    fn from(activity: &'a auth::Activity) -> Self {
        let told = |text: &'a str| (!text.is_empty()).then_some(text);
        let client = activity.client.as_ref();
        Self {
            id: activity.id.to_string(),
            event: &activity.event,
            at: Timestamp::from(activity.at.as_ref()),
            address: client.and_then(|client| told(&client.address)),
            user_agent: client.and_then(|client| told(&client.user_agent)),
            session_id: told(&activity.session_id),
        }
    }
}

impl Part {
    /// The last one counts of what comes twice.
    fn from_query(query: &str) -> Result<Self, Problem> {
        let refuse = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, "INVALID_QUERY", detail.to_owned());
        let mut part = Self { limit: USUAL_LIMIT, before: 0 };
        for (name, value) in query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
            // A sign is no digit.
            let number =
                || value.parse::<i64>().ok().filter(|_| value.bytes().all(|byte| byte.is_ascii_digit()));
            match name {
                "limit" => {
                    part.limit = number()
                        .and_then(|limit| u32::try_from(limit).ok())
                        .filter(|limit| (1..=HIGHEST_LIMIT).contains(limit))
                        .ok_or_else(|| refuse("limit has to be a number from 1 to 100."))?;
                }
                "before" => {
                    part.before = number()
                        .filter(|before| *before > 0)
                        .ok_or_else(|| refuse("before has to be the `next` of an earlier answer."))?;
                }
                _ => {}
            }
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_what_the_query_says_or_nothing() {
        let part = |query| Part::from_query(query).ok().map(|part| (part.limit, part.before));
        assert_eq!(part(""), Some((50, 0)));
        assert_eq!(part("limit=1&other=x"), Some((1, 0)));
        assert_eq!(part("before=9223372036854775807&limit=100"), Some((100, i64::MAX)));
        for invalid in
            ["limit=0", "limit=101", "limit=", "limit", "limit=-1", "limit=+5", "limit=1.0", "limit=5%30"]
        {
            assert_eq!(part(invalid), None, "{invalid}");
        }
        for invalid in ["before=0", "before=x", "before=", "before=9223372036854775808", "before=-2"] {
            assert_eq!(part(invalid), None, "{invalid}");
        }
    }
}

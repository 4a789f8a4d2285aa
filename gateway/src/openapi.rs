//! The parts of the OpenAPI document that routes share: what it is, how to sign in, and the problems that many routes have.

use std::collections::BTreeMap;

use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi};

use crate::problem::ProblemDocument;

/// The document before the routes add theirs.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sallyport",
        description = "Sessions and profiles.\n\nEvery failure is an `application/problem+json` document (RFC 9457). `/register`, \
            `/login`, `/logout`, `/me` and `/profile` are the same routes without the prefix. A session is shown by \
            `Authorization: Bearer` or by a cookie; when both come, the header alone counts. What changes something with a \
            cookie has to come from the site's own pages (`Sec-Fetch-Site: same-origin`, or a matching `Origin`).",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "account", description = "Users."),
        (name = "session", description = "Logging in and out."),
        (name = "profile", description = "What users tell about themselves."),
        (name = "operations", description = "For load balancers."),
    ),
    components(schemas(ProblemDocument)),
    modifiers(&SecuritySchemes),
)]
pub struct Document;

struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let cookie = ApiKey::Cookie(ApiKeyValue::new("__Host-session"));
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(cookie));
    }
}

type Responses = BTreeMap<String, RefOr<Response>>;

fn problems(table: &[(u16, &str)]) -> Responses {
    let problem = |description: &str| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response =
            ResponseBuilder::new().description(description).content("application/problem+json", content);
        RefOr::T(response.build())
    };
    table.iter().map(|(status, description)| (status.to_string(), problem(description))).collect()
}

/// Of every route with a JSON body.
pub struct TakesJson;

impl IntoResponses for TakesJson {
    fn responses() -> Responses {
        problems(&[
            (400, "The body is no JSON object, or a member of it is not acceptable: see `errors`."),
            (408, "The body took too long to arrive."),
            (413, "The body is too large."),
            (415, "The body is of another type."),
        ])
    }
}

/// Of every route that needs a session.
pub struct SessionProblems;

impl IntoResponses for SessionProblems {
    fn responses() -> Responses {
        problems(&[(401, "There is no valid session.")])
    }
}

/// Of every route that changes something for those who are signed in.
pub struct ForeignChange;

impl IntoResponses for ForeignChange {
    fn responses() -> Responses {
        problems(&[(403, "A change with a cookie that another site asks for.")])
    }
}

/// Of every route that asks a service: the limits come with them.
pub struct ServiceProblems;

impl IntoResponses for ServiceProblems {
    fn responses() -> Responses {
        problems(&[
            (429, "A rate limit is reached: see `violated-policies` and `Retry-After`."),
            (500, "A bug."),
            (503, "A service is away or has no capacity left: see `Retry-After`."),
            (504, "A service takes too long."),
        ])
    }
}

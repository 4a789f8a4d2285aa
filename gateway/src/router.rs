//! Every route, in one place: what it is called, who may use it, and where it is.

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, RETRY_AFTER};
use http::{HeaderName, Method, StatusCode};
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa::OpenApi as _;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use crate::app::App;
use crate::cross_site::Origin;
use crate::gate::{Gate, GateLayer};
use crate::middleware::Middleware;
use crate::openapi::Document;
use crate::problem::Problem;
use crate::routes::{
    activity, deletion, docs, email_verification, export, health, login, logout, me, password,
    password_reset, profile, public_profile, register, sessions,
};

/// The whole interface.
pub fn router(app: App) -> Router {
    let behind = |gate, (schemas, paths, methods): UtoipaMethodRouter<App>| -> UtoipaMethodRouter<App> {
        (schemas, paths, methods.route_layer(GateLayer { gate, app: app.clone() }))
    };

    // These count against limits of their own, or against none.
    let register = routes!(register::register);
    let login = routes!(login::login);
    let logout = routes!(logout::logout);
    let password_reset = routes!(password_reset::request);
    let password_reset_confirmed = routes!(password_reset::confirm);
    let email_confirmed = routes!(email_verification::confirm);

    let export = behind(Gate::SignedIn, routes!(export::export));
    let activity = behind(Gate::SignedIn, routes!(activity::list));
    let me = behind(Gate::SignedIn, routes!(me::me, deletion::delete));
    let profile = behind(Gate::SignedIn, routes!(profile::read, profile::change));
    let all_sessions = behind(Gate::SignedIn, routes!(sessions::list, sessions::end_all));
    let one_session = behind(Gate::SignedIn, routes!(sessions::end_one));
    let password = behind(Gate::SignedIn, routes!(password::change));

    let email_verification = behind(Gate::SignedIn, routes!(email_verification::request));

    let public_profile = behind(Gate::Anonymous, routes!(public_profile::read));

    // For clients that were written before there was a version.
    let aliases = Router::new()
        .route("/register", register.2.clone())
        .route("/login", login.2.clone())
        .route("/logout", logout.2.clone())
        .route("/me", me.2.clone())
        .route("/profile", profile.2.clone());

    let (documented, contract) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(register)
        .routes(login)
        .routes(logout)
        .routes(me)
        .routes(activity)
        .routes(export)
        .routes(profile)
        .routes(all_sessions)
        .routes(one_session)
        .routes(password)
        .routes(password_reset)
        .routes(password_reset_confirmed)
        .routes(email_verification)
        .routes(email_confirmed)
        .routes(public_profile)
        .routes(routes!(health::health))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .split_for_parts();

    let contract = Bytes::from(serde_json::to_vec(&contract).unwrap_or_default());
    let documentation = Router::new()
        .route("/openapi.json", get(async move || docs::contract(contract)))
        .route("/docs", get(docs::redirect))
        .route("/docs/", get(docs::index))
        .route("/docs/{*path}", get(docs::asset));

    let mut router = documented
        .merge(aliases)
        .merge(documentation)
        .fallback(async || Problem::from(StatusCode::NOT_FOUND))
        .with_state(app.clone());
    if !app.settings.cors_origins.is_empty() {
        router = router.layer(cors(&app.settings.cors_origins));
    }
    router.layer(Middleware(app))
}

/// For the pages of the sites that are named in the configuration, cookies included.
fn cors(origins: &[Origin]) -> CorsLayer {
    const EXPOSED: [&str; 5] =
        ["idempotency-replayed", "ratelimit", "ratelimit-policy", "traceparent", "traceresponse"];
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().map(|origin| origin.header().clone())))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            IF_MATCH,
            IF_NONE_MATCH,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("traceparent"),
        ])
        .expose_headers(
            [ETAG, RETRY_AFTER].into_iter().chain(EXPOSED.map(HeaderName::from_static)).collect::<Vec<_>>(),
        )
        .max_age(std::time::Duration::from_secs(600))
}

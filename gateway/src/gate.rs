//! Who may go on to a route: those with a session, or anybody, each within the `api` limit.
//!
//! The session check and the count run side by side. A token that turns out to be none takes its counter with it and is charged to
//! the client's address, so that made-up tokens open no fresh quota.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::{FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use proto::auth::v1::Session;
use tower::{Layer, Service};

use crate::app::App;
use crate::client_address::Client;
use crate::credentials::Credential;
use crate::cross_site;
use crate::limits::{Limits, Subject, Tally};
use crate::problem::Problem;

/// The session of a request that came through [`Gate::SignedIn`].
#[derive(Debug, Clone)]
pub struct SignedIn(pub Session);

impl FromRequestParts<App> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        parts.extensions.remove().ok_or_else(|| Problem::internal("a signed-in route is not behind its gate"))
    }
}

/// To be laid around routes.
#[derive(Clone)]
pub struct GateLayer {
    pub gate: Gate,
    pub app: App,
}

#[derive(Debug, Clone, Copy)]
pub enum Gate {
    /// Routes for those who are signed in.
    SignedIn,
    /// Routes for everybody.
    Anonymous,
}

impl Gate {
    async fn admit<'a>(
        self,
        app: &'a App,
        parts: &Parts,
        tally: &mut Tally<'a>,
    ) -> Result<Option<SignedIn>, Problem> {
        let client = Client::of(parts, &app.settings.trusted_proxies);
        match self {
            Self::SignedIn => check_session(app, parts, &client, tally).await.map(Some),
            Self::Anonymous => {
                tally.charge(&app.limits.api, Subject::address(client.address)).await?;
                Ok(None)
            }
        }
    }
}

async fn check_session<'a>(
    app: &'a App,
    parts: &Parts,
    client: &Client,
    tally: &mut Tally<'a>,
) -> Result<SignedIn, Problem> {
    let limits: &'a Limits = &app.limits;
    let credential = Credential::of(parts, client);
    match credential {
        Credential::None => return Err(Problem::no_session()),
        Credential::Bearer(_) => {}
        Credential::Cookie(_) => cross_site::refuse_foreign(parts, client, &app.settings.cors_origins)?,
    }
    let Some(token) = credential.token() else {
        return Err(refuse_made_up(limits, client, tally).await);
    };
    let counted = tally.charge(&limits.api, Subject::token(token));
    match tokio::join!(counted, app.auth.validate_session(token)) {
        (_, Err(problem)) if problem.is_no_session() => Err(refuse_made_up(limits, client, tally).await),
        (Err(refused), _) => Err(refused),
        (Ok(()), outcome) => outcome.map(SignedIn),
    }
}

/// 401, or 429 when the address has used up its quota with tokens that were none.
pub async fn refuse_made_up<'a>(limits: &'a Limits, client: &Client, tally: &mut Tally<'a>) -> Problem {
    let charged = tally.charge_instead(&limits.api, Subject::address(client.address)).await;
    charged.err().unwrap_or_else(Problem::no_session)
}

impl<S> Layer<S> for GateLayer {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { gate: self.gate, app: self.app.clone(), inner }
    }
}

#[derive(Clone)]
pub struct Gated<S> {
    gate: Gate,
    app: App,
    inner: S,
}

impl<S> Service<Request> for Gated<S>
where
    S: Service<Request, Error = Infallible> + Clone + Send + 'static,
    S::Response: IntoResponse,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (gate, app) = (self.gate, self.app.clone());
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let mut tally = app.limits.tally();
            let (mut parts, body) = request.into_parts();
            let response = match gate.admit(&app, &parts, &mut tally).await {
                Err(problem) => problem.into_response(),
                Ok(signed_in) => {
                    if let Some(signed_in) = signed_in {
                        parts.extensions.insert(signed_in);
                    }
                    inner.call(Request::from_parts(parts, body)).await?.into_response()
                }
            };
            Ok(tally.stamp(response))
        })
    }
}

//! Where a request comes from, as the services are told it: the client's address, and what it calls itself.
//!
//! It decides nothing: limits and trust go by `client_address` alone.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::header;
use http::request::Parts;
use proto::auth::v1 as auth;

use crate::app::App;
use crate::client_address::Client;

const USER_AGENT_LENGTH: usize = 256;

/// The message for the services.
#[derive(Debug, Clone)]
pub struct Caller(pub auth::Client);

impl Caller {
    /// The name is whatever the client likes, cut to what is worth keeping.
    pub fn of(parts: &Parts, client: &Client) -> Self {
        let name =
            parts.headers.get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let user_agent = name.unwrap_or_default().chars().take(USER_AGENT_LENGTH).collect();
        Self(auth::Client { address: client.address.to_string(), user_agent })
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        Ok(Self::of(parts, &Client::of(parts, &app.settings.trusted_proxies)))
    }
}

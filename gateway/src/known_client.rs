//! Who is let in at the login where strangers are refused: whoever shows a device or a session of that very user.
//!
//! So an attack on an account, or from the same address, keeps nobody out who has signed in before. What is shown is no
//! credential: it opens a small quota of its own, and only once auth-svc has recognised it.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;
use proto::auth::v1::RecognizeClientRequest;

use crate::app::App;
use crate::client_address::Client;
use crate::credentials::{self, Credential};
use crate::cross_site;
use crate::limits::{Subject, Tally};
use crate::problem::Problem;

/// What a login shows beside name and password; empty for what it does not show.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    pub device: String,
    session_token: String,
}

impl FromRequestParts<App> for Shown {
    type Rejection = Infallible;

    /// Cookies count only when the request comes from the site's own pages: no other site spends what they open.
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let client = Client::of(parts, &app.settings.trusted_proxies);
        let own_page = cross_site::refuse_foreign(parts, &client, &app.settings.cors_origins).is_ok();
        let credential = Credential::of(parts, &client);
        let session_token = match credential {
            Credential::Cookie(_) if !own_page => None,
            credential => credential.token(),
        };
        let device = credentials::device(parts, &client).filter(|_| own_page);
        let text = |shown: Option<&str>| shown.unwrap_or_default().to_owned();
        Ok(Self { device: text(device), session_token: text(session_token) })
    }
}

impl Shown {
    /// Lets a login in that `refusal` has refused, if what it shows belongs to the user.
    ///
    /// # Errors
    /// The refusal, for strangers and for those who have used up their own quota too; 503 when nobody can tell.
    pub async fn admit<'a>(
        self,
        app: &'a App,
        client: &Client,
        username: &str,
        refusal: Problem,
        tally: &mut Tally<'a>,
    ) -> Result<(), Problem> {
        if self.device.is_empty() && self.session_token.is_empty() {
            return Err(refusal);
        }
        // Made-up tokens have to be looked up as well: an address may cause as many look-ups as other requests.
        let look_up = app.limits.tally().charge(&app.limits.api, Subject::address(client.address)).await;
        if look_up.is_err() {
            return Err(refusal);
        }
        let Self { device, session_token } = self;
        let request = RecognizeClientRequest { username: username.to_owned(), device, session_token };
        match app.auth.recognize_client(request).await? {
            Some(known_as) => {
                tally.charge_in_place(refusal, &app.limits.login_known, Subject::known(&known_as)).await
            }
            None => Err(refusal),
        }
    }
}

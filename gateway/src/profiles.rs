//! What the gateway asks of profile-svc, and how a profile comes to exist.
//!
//! A profile exists as soon as its user does. Where profile-svc knows none yet, auth-svc is asked for the user and the profile is made
//! then and there: whatever failed in between heals with the next request.

use std::time::Duration;

use chassis::bulkhead::{Bulkhead, Refusals};
use chassis::call_stream::CallStream;
use chassis::shutdown::Shutdown;
use chassis::upstream::{Endpoints, Settings, Upstream};
use http::StatusCode;
use proto::auth::v1::User;
use proto::profile::v1::profile_service_client::ProfileServiceClient;
use proto::profile::v1::{
    CreateProfileRequest, GetProfileRequest, GetProfileResponse, Profile, RecordSeenRequest,
    UpdateProfileRequest, get_profile_request,
};
use tokio::time::Instant;
use tonic::{Request, Status};

use crate::admission;
use crate::auth::{ATTEMPT_TIMEOUT, Auth, Key};
use crate::config::Bounds;
use crate::observe;
use crate::problem::Problem;
use crate::profile_change::ProfileChange;

/// How long a registration waits for the profile, which it does not need.
const EAGER_CREATION: Duration = Duration::from_millis(300);
const RECORD_SEEN: Duration = Duration::from_secs(1);

/// profile-svc, however many replicas it has.
pub struct Profiles {
    upstream: Upstream,
    client: ProfileServiceClient<Upstream>,
    reads: CallStream<GetProfileRequest, GetProfileResponse>,
    /// Of all who wait for profile-svc.
    places: Bulkhead,
    read_timeout: Duration,
    write_timeout: Duration,
}

impl Profiles {
    pub fn open(endpoints: Endpoints, bounds: &Bounds, refusals: &Refusals, shutdown: &Shutdown) -> Self {
        let places = bounds.max_in_flight as usize;
        let settings = Settings {
            attempt_timeout: ATTEMPT_TIMEOUT,
            idempotent: &[
                "/sallyport.profile.v1.ProfileService/CreateProfile",
                "/sallyport.profile.v1.ProfileService/RecordSeen",
            ],
            ..Settings::default()
        };
        let upstream = Upstream::open("profile-svc", endpoints, settings, shutdown);
        Self {
            client: ProfileServiceClient::new(upstream.clone()),
            reads: upstream.call_stream("/sallyport.profile.v1.ProfileService/GetProfileStream"),
            upstream,
            places: Bulkhead::new("profiles", admission::part(places * 3 / 4, bounds), refusals),
            read_timeout: bounds.read_timeout(),
            write_timeout: bounds.write_timeout(),
        }
    }

    /// Tells whether any replica has answered since the start.
    pub fn has_answered(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let upstream = self.upstream.clone();
        move || upstream.answered()
    }

    /// # Errors
    /// 404 when there is no such user.
    pub async fn get(&self, auth: &Auth, key: Key<'_>) -> Result<Profile, Problem> {
        let _place = self.places.enter().await?;
        let request_key = match key {
            Key::UserId(id) => get_profile_request::Key::UserId(id.to_owned()),
            Key::Username(name) => get_profile_request::Key::Username(name.to_owned()),
        };
        let request = GetProfileRequest { key: Some(request_key) };
        match self.reads.call(&request, Instant::now() + self.read_timeout).await {
            Ok(answer) => answer.profile.ok_or_else(|| incomplete("GetProfile")),
            Err(status) if is_missing(&status) => self.create_missing(auth, key).await,
            Err(status) => Err(status.into()),
        }
    }

    /// Changes a profile that is at the expected version, or at whichever.
    ///
    /// # Errors
    /// 412 when it is at another version.
    pub async fn update(
        &self,
        auth: &Auth,
        user_id: &str,
        change: ProfileChange,
        expected_version: Option<u64>,
    ) -> Result<Profile, Problem> {
        let _place = self.places.enter().await?;
        let request = UpdateProfileRequest {
            profile: Some(Profile { user_id: user_id.to_owned(), ..change.values }),
            update_mask: Some(change.mask),
            expected_version: expected_version.unwrap_or_default(),
        };
        let update =
            async || self.client.clone().update_profile(within(self.write_timeout, request.clone())).await;
        let answer = match update().await {
            Err(status) if is_missing(&status) => {
                self.create_missing(auth, Key::UserId(user_id)).await?;
                update().await?
            }
            outcome => outcome?,
        };
        answer.into_inner().profile.ok_or_else(|| incomplete("UpdateProfile"))
    }

    /// Makes the profile of a user who has just registered. Best effort: the first read makes up for it.
    pub async fn create_eagerly(&self, user: &User) {
        let Some(_place) = self.places.try_enter() else { return };
        if let Err(error) = self.create(user, EAGER_CREATION).await {
            tracing::debug!(code = ?error.code(), "the profile of a new user is left to its first read");
        }
    }

    /// Notes, in the background and at best effort, that the user was there.
    pub fn record_seen_later(&self, shutdown: &Shutdown, user_id: String) {
        let Some(place) = self.places.try_enter() else { return };
        let mut client = self.client.clone();
        let record = async move {
            let _place = place;
            if let Err(error) = client.record_seen(within(RECORD_SEEN, RecordSeenRequest { user_id })).await {
                tracing::debug!(code = ?error.code(), "last seen was not recorded");
            }
        };
        observe::in_background(shutdown, "record seen", record);
    }

    /// The profile of a user who has none yet. Only auth-svc knows whether there is such a user.
    async fn create_missing(&self, auth: &Auth, key: Key<'_>) -> Result<Profile, Problem> {
        let user = auth.user(key).await?;
        self.create(&user, self.write_timeout).await.map_err(|status| {
            match chassis::status::reason(&status) {
                // Names are auth-svc's to give away: whoever had this one is deleted, and about to be so there too.
                Some(reason) if reason == "USERNAME_TAKEN" => Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "PROFILE_NOT_READY",
                    "The profile of a former user of this name is still being removed; try again.",
                ),
                _ => status.into(),
            }
        })
    }

    async fn create(&self, user: &User, timeout: Duration) -> Result<Profile, Status> {
        let request = CreateProfileRequest { user_id: user.id.clone(), username: user.username.clone() };
        let answer = self.client.clone().create_profile(within(timeout, request)).await?;
        answer.into_inner().profile.ok_or_else(|| Status::internal("profile-svc answered without a profile"))
    }
}

fn within<T>(timeout: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

fn is_missing(status: &Status) -> bool {
    status.code() == tonic::Code::NotFound
        && chassis::status::reason(status).as_deref() == Some("PROFILE_NOT_FOUND")
}

fn incomplete(method: &str) -> Problem {
    Problem::internal(format!("profile-svc left the answer to {method} empty"))
}

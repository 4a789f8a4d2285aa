//! People who use the API: unlike any other, so that tests share a stack and find their own words in it again.

use serde_json::{Value, json};

use crate::api::{Answer, Api};
use crate::wait;

/// Somebody with a name, a password and an e-mail address that nobody else has.
#[derive(Debug, Clone)]
pub struct Person {
    pub username: String,
    pub password: String,
    pub email: String,
}

/// Somebody with a session.
#[derive(Debug, Clone)]
pub struct SignedIn {
    pub person: Person,
    pub id: String,
    pub token: String,
}

impl Person {
    /// Somebody nobody knows yet.
    pub fn new() -> Self {
        let id = fastrand::u64(..);
        Self {
            username: format!("ada{id:016x}"),
            password: format!("correct horse {:016x} staple", fastrand::u64(..)),
            email: format!("post{:016x}@mail.example", fastrand::u64(..)),
        }
    }

    /// Somebody who has an account.
    pub async fn registered(api: &Api) -> Self {
        let person = Self::new();
        let registration = async || person.register(api).await.unless_full();
        wait::until("the hash pool has room", registration).await.expect(201);
        person
    }

    /// Somebody who has an account and a session.
    pub async fn signed_in(api: &Api) -> SignedIn {
        Self::registered(api).await.sign_in(api).await
    }

    pub async fn register(&self, api: &Api) -> Answer {
        api.post("/v1/register").json(&self.registration()).await
    }

    pub async fn log_in(&self, api: &Api) -> Answer {
        api.post("/v1/login").json(&self.credentials()).await
    }

    /// Logs in, which has to succeed; comes again while other tests fill the hash pool.
    pub async fn sign_in(&self, api: &Api) -> SignedIn {
        let login =
            wait::until("the hash pool has room", async || self.log_in(api).await.unless_full()).await;
        let body = login.expect(200).json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (token, id) = (text(&body["token"]), text(&body["user"]["id"]));
        assert!(!token.is_empty() && !id.is_empty(), "a login without token or user: {body}");
        SignedIn { person: self.clone(), id, token }
    }

    pub fn registration(&self) -> Value {
        json!({"username": self.username, "password": self.password, "email": self.email})
    }

    pub fn credentials(&self) -> Value {
        json!({"username": self.username, "password": self.password})
    }

    pub fn public_profile(&self) -> String {
        format!("/v1/users/{}/profile", self.username)
    }
}

impl Default for Person {
    fn default() -> Self {
        Self::new()
    }
}

impl SignedIn {
    pub async fn me(&self, api: &Api) -> Answer {
        api.get("/v1/me").bearer(&self.token).await
    }

    /// Waits until the login is noted in the profile, which happens behind its answer: from then on nobody writes there unasked.
    pub async fn noted(self, api: &Api) -> Self {
        let noted = async || self.profile(api).await.expect(200).json()["lastSeen"].is_string();
        wait::until_true("the login is noted", noted).await;
        self
    }

    pub async fn profile(&self, api: &Api) -> Answer {
        api.get("/v1/profile").bearer(&self.token).await
    }

    /// Changes the profile, whichever version it is at.
    pub async fn change(&self, api: &Api, change: &Value) -> Answer {
        api.patch("/v1/profile").bearer(&self.token).if_match("*").json(change).await
    }

    pub async fn log_out(&self, api: &Api) -> Answer {
        api.post("/v1/logout").bearer(&self.token).await
    }
}

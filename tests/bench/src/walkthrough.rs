//! What one person does step by step, and what every contestant has to answer: the same work, before anything is measured.

use std::net::SocketAddr;

use anyhow::Context as _;

use crate::load::clients::{Route, login_request, request, token_in};
use crate::load::once;
use crate::people::Person;

/// Goes through everything as `person`, with `stranger`'s token for one that opens nothing.
pub async fn walk(address: SocketAddr, person: Person, stranger: Person) -> anyhow::Result<()> {
    let walk = Walk { address, person };
    let seeded = person.token();
    walk.expect(401, "GET", Route::Profile, &stranger.token()).await.context("a token that nobody has")?;
    walk.expect(200, "GET", Route::Me, &seeded)
        .await
        .context("the session that was there from the beginning")?;
    walk.expect_bio(&seeded, None).await?;

    let (first, second) = (walk.login().await?, walk.login().await?);
    walk.expect_bio(&first, None).await.context("a new session")?;
    for revision in ["first", "second"] {
        let bio = format!("The {revision} change, {:016x}", fastrand::u64(..));
        walk.change(&first, &bio).await?;
        walk.expect_bio(&second, Some(&bio)).await.context("after a change through another session")?;
    }

    walk.expect(204, "POST", Route::Logout, &first).await.context("a logout")?;
    walk.expect(401, "GET", Route::Profile, &first).await.context("after a logout")?;
    walk.expect(401, "GET", Route::Me, &first).await.context("after a logout")?;
    walk.expect_bio(&second, None).await.context("another session, after a logout")?;
    walk.expect(204, "POST", Route::Logout, &second).await.context("another logout")
}

struct Walk {
    address: SocketAddr,
    person: Person,
}

impl Walk {
    async fn expect(&self, expected: u16, method: &str, route: Route, token: &str) -> anyhow::Result<()> {
        let (status, body) = once(self.address, request(method, route, token, None)).await?;
        anyhow::ensure!(status == expected, "{method} {}: {status} {body}", route.path());
        Ok(())
    }

    /// The own profile, with these words if they are known.
    async fn expect_bio(&self, token: &str, bio: Option<&str>) -> anyhow::Result<()> {
        let (status, body) = once(self.address, request("GET", Route::Profile, token, None)).await?;
        anyhow::ensure!(status == 200, "{status} {body}");
        let profile: serde_json::Value = serde_json::from_str(&body)?;
        anyhow::ensure!(profile["id"] == self.person.id().to_string(), "another person's profile: {body}");
        anyhow::ensure!(profile["username"] == self.person.username(), "another person's name: {body}");
        let words = profile["bio"].as_str().context("a profile without a bio")?;
        anyhow::ensure!(bio.is_none_or(|bio| bio == words), "an old profile: {body}");
        Ok(())
    }

    async fn login(&self) -> anyhow::Result<String> {
        let (status, body) = once(self.address, login_request(self.person)).await?;
        token_in(status, &body).with_context(|| format!("a login: {status} {body}"))
    }

    async fn change(&self, token: &str, bio: &str) -> anyhow::Result<()> {
        let change = serde_json::json!({ "bio": bio }).to_string();
        let (status, body) =
            once(self.address, request("PATCH", Route::Profile, token, Some(&change))).await?;
        anyhow::ensure!(status == 200 && body.contains(bio), "a change: {status} {body}");
        Ok(())
    }
}

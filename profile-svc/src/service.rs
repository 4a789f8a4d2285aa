//! The use cases: find, create, change and remove a profile, note that a user was there.

use uuid::Uuid;

use crate::cache::ProfileCache;
use crate::erasure::Erasure;
use crate::error::ProfileError;
use crate::profile::{Profile, ProfileChange, UserId};
use crate::profiles::Profiles;
use crate::username::Username;

/// What profile-svc can do, whoever asks.
#[derive(Clone)]
pub struct ProfileService {
    profiles: Profiles,
    cache: ProfileCache,
    erasure: Erasure,
}

impl ProfileService {
    pub fn new(profiles: Profiles, cache: ProfileCache, erasure: Erasure) -> Self {
        Self { profiles, cache, erasure }
    }

    /// # Errors
    /// `NotFound`, and the database away while the cache does not know.
    pub async fn profile(&self, id: UserId) -> Result<Profile, ProfileError> {
        self.cache.by_id(id).await?.ok_or(ProfileError::NotFound)
    }

    /// Finds a profile by its username in any case.
    ///
    /// # Errors
    /// As [`profile`](Self::profile).
    pub async fn profile_by_username(&self, username: &Username) -> Result<Profile, ProfileError> {
        let Some(id) = self.cache.id_of(username).await? else { return Err(ProfileError::NotFound) };
        match self.cache.by_id(id).await? {
            Some(profile) if profile.username_key == username.key() => Ok(profile),
            // The two caches disagree, so what the first one said is outdated.
            _ => Box::pin(self.look_up_again(username)).await,
        }
    }

    async fn look_up_again(&self, username: &Username) -> Result<Profile, ProfileError> {
        self.cache.forget_username(username).await;
        self.profiles.by_username(username.key()).await?.ok_or(ProfileError::NotFound)
    }

    /// Makes the profile of a user, or finds the one that there is.
    ///
    /// # Errors
    /// `NotFound` when the user is known to be gone.
    /// `UsernameTaken` when another user's profile has the name.
    pub async fn create(&self, id: UserId, username: &Username) -> Result<Profile, ProfileError> {
        self.cache.create(id, username, self.profiles.insert(id, username)).await
    }

    /// Changes a profile that is at the expected version, `None` for any.
    ///
    /// # Errors
    /// `NotFound`, `VersionMismatch`, and the cache or the database away.
    pub async fn update(
        &self,
        id: UserId,
        expected: Option<i64>,
        change: &ProfileChange,
    ) -> Result<Profile, ProfileError> {
        // An announcement costs the key its cached value, so what cannot succeed is not announced: with the
        // database away the profile has to stay readable.
        let current = self.profiles.version(id).await?.ok_or(ProfileError::NotFound)?;
        if expected.is_some_and(|expected| expected != current) {
            return Err(ProfileError::VersionMismatch);
        }
        self.cache.change(id, self.profiles.update(id, expected, change)).await
    }

    /// Notes that the user is there, once a minute at most.
    ///
    /// # Errors
    /// `NotFound`, and the cache or the database away.
    pub async fn record_seen(&self, id: UserId) -> Result<(), ProfileError> {
        if self.profiles.is_seen_due(id).await? {
            self.cache.change(id, self.profiles.record_seen(id)).await?;
        }
        Ok(())
    }

    /// Removes all that there is of a user who is gone, because of an event that may come more than once.
    ///
    /// # Errors
    /// The cache or the database away: to be tried again.
    pub async fn erase(&self, event_id: Uuid, id: UserId) -> Result<(), ProfileError> {
        let profile = self.profiles.by_id(id).await?;
        let username_key = profile.map(|profile| profile.username_key);
        self.cache.erase(id, username_key.as_deref(), self.erasure.erase(event_id, id)).await
    }
}

#[cfg(test)]
mod tests;

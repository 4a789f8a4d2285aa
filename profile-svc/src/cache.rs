//! Profiles, and whose a username is, read through the cache; and the rule by which a write reaches it.

use std::future::Future;
use std::time::Duration;

use chassis::read_through::{ReadThrough, Settings};
use chassis::redis::Redis;
use chassis::shutdown::Shutdown;

use crate::erasure::Erased;
use crate::error::ProfileError;
use crate::profile::{Profile, UserId};
use crate::profiles::Profiles;
use crate::username::Username;

mod entry;

/// How long it is remembered that there is no such profile.
const NEGATIVE_TTL: Duration = Duration::from_secs(30);

/// Where and for how long profiles are kept.
#[derive(Debug, Clone)]
pub struct Lifetime {
    /// Begins every key.
    pub namespace: String,
    pub ttl: Duration,
}

/// The caches of one replica.
#[derive(Clone)]
pub struct ProfileCache {
    by_id: ReadThrough<Profile, ProfileError>,
    ids: ReadThrough<UserId, ProfileError>,
    profiles: Profiles,
}

impl ProfileCache {
    pub fn new(redis: &Redis, lifetime: &Lifetime, profiles: Profiles, shutdown: &Shutdown) -> Self {
        let settings = |name| Settings {
            name,
            namespace: format!("{}{name}", lifetime.namespace),
            ttl: lifetime.ttl,
            negative_ttl: NEGATIVE_TTL.min(lifetime.ttl),
        };
        Self {
            by_id: ReadThrough::new(redis.clone(), settings("profile"), shutdown),
            ids: ReadThrough::new(redis.clone(), settings("profile_id"), shutdown),
            profiles,
        }
    }

    pub async fn by_id(&self, id: UserId) -> Result<Option<Profile>, ProfileError> {
        let profiles = self.profiles.clone();
        let load = move || {
            let profiles = profiles.clone();
            async move { profiles.by_id(id).await }
        };
        self.by_id.read(&id.to_string(), load).await
    }

    /// Whose profile has a username.
    pub async fn id_of(&self, username: &Username) -> Result<Option<UserId>, ProfileError> {
        let (profiles, key) = (self.profiles.clone(), username.key().to_owned());
        let load = move || {
            let (profiles, key) = (profiles.clone(), key.clone());
            async move { profiles.id_of(&key).await }
        };
        self.ids.read(username.key(), load).await
    }

    /// Drops what is known of a username.
    pub async fn forget_username(&self, username: &Username) {
        self.ids.forget(username.key()).await;
    }

    /// Changes a profile under the eyes of every replica: announced before, replaced after, and only then
    /// acknowledged.
    ///
    /// # Errors
    /// `CacheAway` when nothing was written because the cache could not be told, `Unacknowledged` when it was
    /// written and the cache went away meanwhile, and what `write` failed with.
    pub async fn change(
        &self,
        id: UserId,
        write: impl Future<Output = Result<Profile, ProfileError>>,
    ) -> Result<Profile, ProfileError> {
        let announced = self.by_id.announce(&id.to_string()).await.map_err(ProfileError::CacheAway)?;
        match write.await {
            Ok(profile) => {
                announced.finish(Some(&profile)).await.map_err(ProfileError::Unacknowledged)?;
                Ok(profile)
            }
            Err(error) => {
                if error.is_a_refusal() {
                    announced.abandon().await;
                }
                Err(error)
            }
        }
    }

    /// Removes a profile under the eyes of every replica, and leaves nothing in the cache. `username_key`: the case-folded name that
    /// the profile is believed to have.
    ///
    /// # Errors
    /// `CacheAway` when nothing was removed because the cache could not be told, `Unacknowledged` when it was removed and
    /// the cache went away meanwhile, and what `removal` failed with.
    pub async fn erase(
        &self,
        id: UserId,
        username_key: Option<&str>,
        removal: impl Future<Output = Result<Erased, ProfileError>>,
    ) -> Result<(), ProfileError> {
        let by_id = self.by_id.announce(&id.to_string()).await.map_err(ProfileError::CacheAway)?;
        let ids = match username_key {
            Some(key) => Some(self.ids.announce(key).await.map_err(ProfileError::CacheAway)?),
            None => None,
        };
        // If it fails the markers stay until nobody can commit it any more.
        let erased = removal.await?;
        if let Erased::Now { username_key: Some(key) } = &erased
            && Some(key.as_str()) != username_key
        {
            // The profile was made between the look at it and its removal.
            self.ids
                .announce(key)
                .await
                .map_err(ProfileError::Unacknowledged)?
                .erase()
                .await
                .map_err(ProfileError::Unacknowledged)?;
        }
        by_id.erase().await.map_err(ProfileError::Unacknowledged)?;
        if let Some(ids) = ids {
            ids.erase().await.map_err(ProfileError::Unacknowledged)?;
        }
        Ok(())
    }

    /// Adds a profile, in place of what the cache remembers about its absence; without the cache when that is
    /// away.
    ///
    /// What the cache may then still remember is that there is no such profile, as it was before it went
    /// away, and for the lifetime of negative entries at most. Who reads that finds out that the user exists,
    /// and creates the profile again, by then with the cache: nobody is told anything wrong. So a user can be
    /// registered while the cache is away.
    ///
    /// # Errors
    /// What `write` failed with.
    pub async fn create(
        &self,
        id: UserId,
        username: &Username,
        write: impl Future<Output = Result<Profile, ProfileError>>,
    ) -> Result<Profile, ProfileError> {
        let id_key = id.to_string();
        let (by_id, ids) = tokio::join!(self.by_id.announce(&id_key), self.ids.announce(username.key()));
        let (by_id, ids) = (by_id.ok(), ids.ok());
        match write.await {
            Ok(profile) => {
                let by_id = async {
                    if let Some(announced) = by_id {
                        let _ = announced.finish(Some(&profile)).await;
                    }
                };
                let ids = async {
                    match ids {
                        Some(announced) if profile.username_key == username.key() => {
                            let _ = announced.finish(Some(&profile.user_id)).await;
                        }
                        Some(announced) => announced.abandon().await,
                        None => {}
                    }
                };
                tokio::join!(by_id, ids);
                Ok(profile)
            }
            Err(error) => {
                if error.is_a_refusal() {
                    if let Some(announced) = by_id {
                        announced.abandon().await;
                    }
                    if let Some(announced) = ids {
                        announced.abandon().await;
                    }
                }
                Err(error)
            }
        }
    }
}

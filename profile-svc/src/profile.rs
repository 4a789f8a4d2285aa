//! What a profile is, and what a change to one says.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::Violation;
use crate::fields::{AvatarUrl, Bio, DisplayName, Links, Locale, Timezone};

/// Whose profile it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UserId(pub Uuid);

impl UserId {
    /// # Errors
    /// It is no UUID.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        Uuid::try_parse(text).map(Self).map_err(|_| Violation::new("user_id", "has to be a UUID"))
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One profile, as Postgres has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub user_id: UserId,
    /// As the user writes it.
    pub username: String,
    /// Its case-folded form.
    pub username_key: String,
    pub display_name: String,
    pub bio: String,
    pub locale: String,
    pub timezone: String,
    pub role: String,
    pub links: Vec<Link>,
    pub avatar_url: Option<String>,
    pub last_seen: Option<OffsetDateTime>,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
    /// Counts the changes, from 1.
    pub version: i64,
}

/// Something that a user points to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub label: String,
    pub url: String,
}

/// New values for some fields; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileChange {
    pub display_name: Option<DisplayName>,
    pub bio: Option<Bio>,
    pub locale: Option<Locale>,
    pub timezone: Option<Timezone>,
    pub links: Option<Links>,
    pub avatar_url: Option<AvatarUrl>,
}

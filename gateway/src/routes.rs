//! One file per resource. Each route decodes, calls and encodes; it decides nothing.

pub mod activity;
pub mod deletion;
pub mod docs;
pub mod email_verification;
pub mod export;
pub mod health;
pub mod login;
pub mod logout;
pub mod me;
pub mod password;
pub mod password_reset;
pub mod profile;
pub mod public_profile;
pub mod register;
pub mod sessions;

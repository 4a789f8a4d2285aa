//! The PHC string format of argon2id hashes: `$argon2id$v=19$m=19456,t=2,p=1[,keyid=<id>]$<salt>$<output>`.

use std::fmt;
use std::str::FromStr;

use argon2::Params;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// A stored hash is none of ours.
#[derive(Debug, thiserror::Error)]
#[error("a stored password hash is malformed")]
pub(super) struct Malformed;

/// A hash, taken apart.
#[derive(Debug, Clone)]
pub(super) struct Phc {
    pub params: Params,
    /// Which pepper went in, if one did.
    pub key_id: Option<String>,
    pub salt: Vec<u8>,
    pub output: Vec<u8>,
}

impl fmt::Display for Phc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (m, t, p) = (self.params.m_cost(), self.params.t_cost(), self.params.p_cost());
        let (salt, output) = (STANDARD_NO_PAD.encode(&self.salt), STANDARD_NO_PAD.encode(&self.output));
        write!(f, "$argon2id$v=19$m={m},t={t},p={p}")?;
        if let Some(key_id) = &self.key_id {
            write!(f, ",keyid={key_id}")?;
        }
        write!(f, "${salt}${output}")
    }
}

impl FromStr for Phc {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::parse(text).ok_or(Malformed)
    }
}

impl Phc {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
        let (costs, salt, output) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let mut costs = costs.split(',');
        let mut cost = |name| costs.next()?.strip_prefix(name)?.parse::<u32>().ok();
        let (m, t, p) = (cost("m=")?, cost("t=")?, cost("p=")?);
        let key_id = match costs.next() {
            Some(key_id) => Some(key_id.strip_prefix("keyid=")?.to_owned()),
            None => None,
        };
        let output = STANDARD_NO_PAD.decode(output).ok()?;
        let params = Params::new(m, t, p, Some(output.len())).ok()?;
        Some(Self { params, key_id, salt: STANDARD_NO_PAD.decode(salt).ok()?, output })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_survives_the_round_trip() {
        for costs in ["m=19456,t=2,p=1", "m=19456,t=2,p=1,keyid=q83vEjRW"] {
            let text = format!(
                "$argon2id$v=19${costs}$AAAAAAAAAAAAAAAAAAAAAA$AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"
            );
            assert_eq!(text.parse::<Phc>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_strings_are_malformed() {
        for text in
            ["", "$argon2i$v=19$m=1,t=1,p=1$AA$AA", "$argon2id$v=19$m=19456,t=2$AAAA$AAAA", "plain text"]
        {
            assert!(text.parse::<Phc>().is_err(), "{text}");
        }
    }
}

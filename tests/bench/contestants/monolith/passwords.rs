//! argon2id on the runtime's one blocking thread, whose memory is used again and again.

use std::cell::RefCell;

use anyhow::Context as _;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

thread_local! {
    static MEMORY: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// Whether a password is the one of a hash in PHC string format.
pub async fn verify(password: String, hash: String) -> anyhow::Result<bool> {
    tokio::task::spawn_blocking(move || verify_here(password.as_bytes(), &hash)).await?
}

fn verify_here(password: &[u8], hash: &str) -> anyhow::Result<bool> {
    let mut parts = hash.strip_prefix("$argon2id$v=19$").context("another kind of hash")?.split('$');
    let mut part = || parts.next().context("a part of the hash is missing");
    let (costs, salt, expected) = (part()?, part()?, part()?);
    let cost = |name: &str| -> anyhow::Result<u32> {
        let cost = costs.split(',').find_map(|cost| cost.strip_prefix(name));
        Ok(cost.context("a cost of the hash is missing")?.parse()?)
    };
    let (salt, expected) = (STANDARD_NO_PAD.decode(salt)?, STANDARD_NO_PAD.decode(expected)?);
    let params = Params::new(cost("m=")?, cost("t=")?, cost("p=")?, Some(expected.len()))?;
    let blocks = params.block_count();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut output = vec![0; expected.len()];
    MEMORY.with_borrow_mut(|memory| {
        memory.resize(blocks, Block::default());
        argon2.hash_password_into_with_memory(password, &salt, &mut output, memory)
    })?;
    Ok(output == expected)
}

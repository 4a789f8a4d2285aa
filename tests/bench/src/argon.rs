//! What this machine's own argon2id rate is: one thread that does nothing else, in memory that is used again and again.

use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::people::PASSWORD;

/// The parameters of every contestant: OWASP's m=19456 KiB, t=2, p=1.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const OUTPUT_BYTES: usize = 32;
const SALT: &[u8; 16] = b"benchmark's salt";

struct Hashing {
    argon2: Argon2<'static>,
    memory: Vec<Block>,
}

impl Hashing {
    fn new() -> anyhow::Result<Self> {
        let params = Params::new(MEMORY_KIB, PASSES, 1, Some(OUTPUT_BYTES))?;
        let memory = vec![Block::default(); params.block_count()];
        Ok(Self { argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params), memory })
    }

    fn hash(&mut self, password: &str) -> anyhow::Result<[u8; OUTPUT_BYTES]> {
        let mut output = [0; OUTPUT_BYTES];
        self.argon2.hash_password_into_with_memory(
            password.as_bytes(),
            SALT,
            &mut output,
            &mut self.memory,
        )?;
        Ok(output)
    }
}

/// The hash of a password in PHC string format.
pub fn phc(password: &str) -> anyhow::Result<String> {
    let output = STANDARD_NO_PAD.encode(Hashing::new()?.hash(password)?);
    let salt = STANDARD_NO_PAD.encode(SALT);
    Ok(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1${salt}${output}"))
}

/// Hashes per second of one thread, and how many there were.
pub fn rate(duration: Duration) -> anyhow::Result<(f64, u64)> {
    let mut hashing = Hashing::new()?;
    hashing.hash(PASSWORD)?;
    let began = Instant::now();
    let mut hashes = 0;
    while began.elapsed() < duration {
        hashing.hash(PASSWORD)?;
        hashes += 1;
    }
    Ok((hashes as f64 / began.elapsed().as_secs_f64(), hashes))
}

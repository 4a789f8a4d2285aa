//! Random bytes from the operating system, for generated passwords and ports.

use std::fs::File;
use std::io::{self, Read as _};

pub(crate) fn fill(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}

/// 128 bits as 32 hexadecimal digits.
pub(crate) fn password() -> io::Result<String> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

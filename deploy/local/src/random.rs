//! Random bytes from the operating system, for generated passwords and ports.

use std::fs::File;
use std::io::{self, Read as _};

/// 128 bits as 32 hexadecimal digits.
pub(crate) fn password() -> io::Result<String> {
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes()?)))
}

pub(crate) fn number() -> io::Result<u16> {
    Ok(u16::from_ne_bytes(bytes()?))
}

fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

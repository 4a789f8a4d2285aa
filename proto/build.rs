//! Compiles the `.proto` files in pure Rust: no `protoc` is needed on the machine.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "sallyport/auth/v1/auth.proto",
        "sallyport/auth/v1/event.proto",
        "sallyport/call/v1/call.proto",
        "sallyport/profile/v1/profile.proto",
    ];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    #[expect(clippy::disallowed_methods, reason = "cargo hands build scripts their folder this way")]
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    std::fs::write(PathBuf::from(out).join("sallyport.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}

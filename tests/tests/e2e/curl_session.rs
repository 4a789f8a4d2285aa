//! What the README tells a newcomer to type.

use tests::curl_session::CurlSession;
use tests::stack::Stack;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

#[test]
fn the_readmes_curl_session_runs_as_written() {
    let readme = std::fs::read_to_string(README).unwrap();
    let session = CurlSession::of(&readme).unwrap();
    assert!(session.len() >= 8, "a session that states {} things shows little", session.len());
    let stack = Stack::builder().start();
    session.run(&format!("http://{}", stack.gateways[0].address()), &stack.mail_folder()).unwrap();
}

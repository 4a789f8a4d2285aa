//! What `up` prints once everything runs: what is where, and a line to try.

use std::time::Duration;

use super::Args;
use super::supervisor::Row;

/// A user to register.
const BODY: &str = r#"{"username":"ada","password":"correct horse battery staple"}"#;

pub(super) fn render(rows: &[Row], args: &Args, took: Duration) -> String {
    let names = rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
    let addresses = rows.iter().map(|row| row.address.len()).max().unwrap_or_default();
    let mut lines = vec![format!("\nSallyport is up after {:.1} s.\n", took.as_secs_f32())];
    lines.push(format!("  {:names$}  {:>7}  {:addresses$}  admin", "what", "pid", "where"));
    lines.extend(rows.iter().map(|Row { name, pid, address, admin }| {
        let line = format!(
            "  {name:names$}  {pid:>7}  {address:addresses$}  {}",
            admin.as_deref().unwrap_or_default()
        );
        line.trim_end().to_owned()
    }));
    let url = format!("http://127.0.0.1:{}", args.gateway_port);
    lines.push(format!("\nThe interface is described at {url}/docs. Try:"));
    lines.push(format!("  curl -i {url}/v1/register -H 'content-type: application/json' -d '{BODY}'"));
    let folder = args.folder.display();
    if args.mail_url.is_none() {
        lines.push(format!("\nMails are written to {folder}/mail, one file each."));
    }
    lines.push(format!("\nThe data is in {folder} and survives a restart; `make reset` deletes it. Ctrl-C stops everything.\n"));
    lines.join("\n")
}

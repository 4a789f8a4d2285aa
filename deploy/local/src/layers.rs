//! `local check-layers`: holds the source to the architecture's rules that a compiler does not know: who may depend
//! on whom, which layer may name which library, how long a file may be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

/// Each crate of the workspace and the other members it may depend on, tests and build scripts included.
const DEPENDENCIES: [(&str, &[&str]); 8] = [
    ("proto", &[]),
    ("chassis", &[]),
    ("local", &[]),
    ("gateway", &["chassis", "proto"]),
    ("auth-svc", &["chassis", "proto"]),
    ("profile-svc", &["chassis", "proto"]),
    ("tests", &["local", "proto"]),
    ("bench", &["local"]),
];

/// A layer of a service, by the name of its module, and the libraries it must not name.
const LAYERS: [(&str, &[&str], &str); 3] = [
    ("service", &["tonic", "prost", "axum", "sqlx"], "use cases know neither transport nor SQL"),
    ("grpc", &["sqlx", "redis"], "a transport decodes, calls and encodes"),
    ("routes", &["sqlx", "redis"], "a transport decodes, calls and encodes"),
];

/// Names under which anything ends up.
const DRAWERS: [&str; 7] = ["utils", "util", "helpers", "common", "types", "manager", "data"];

const MAIN_LINES: usize = 60;
const FILE_LINES: usize = 400;

#[derive(clap::Args)]
pub struct Args {
    /// The workspace.
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut broken = Vec::new();
    for (name, allowed) in DEPENDENCIES {
        let tree = dependencies(&args.root, name)?;
        broken.extend(forbidden_dependencies(&tree, allowed).map(|it| format!("{name} depends on {it}")));
    }
    for file in sources(&args.root)? {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let path = file.strip_prefix(&args.root).unwrap_or(&file);
        broken.extend(faults(path, &text).into_iter().map(|fault| format!("{}: {fault}", path.display())));
    }
    anyhow::ensure!(broken.is_empty(), "the layers are broken:\n  {}", broken.join("\n  "));
    Ok(())
}

/// The direct dependencies of a crate, as `cargo tree` prints them.
fn dependencies(root: &Path, name: &str) -> anyhow::Result<String> {
    let mut command = Command::new("cargo");
    command.args(["tree", "--package", name, "--depth", "1", "--prefix", "none", "--format", "{p}"]);
    command.args(["--edges", "all", "--target", "all", "--all-features"]).current_dir(root);
    let output = command.output().context("cannot run cargo")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The workspace members in `tree`, apart from its own crate on the first line, that are not allowed.
fn forbidden_dependencies<'a>(tree: &'a str, allowed: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let names = tree.lines().skip(1).filter_map(|line| line.split(' ').next());
    let members = names.filter(|name| DEPENDENCIES.iter().any(|(member, _)| member == name));
    members.filter(|name| !allowed.contains(name))
}

/// Every Rust file of the workspace.
fn sources(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_ours = !name.starts_with('.') && name != "target" && name != "node_modules";
        if is_ours && path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What is wrong with one file.
fn faults(path: &Path, text: &str) -> Vec<String> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let modules: Vec<String> =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let mut faults = Vec::new();

    let limit = if path.ends_with("src/main.rs") { MAIN_LINES } else { FILE_LINES };
    let lines = text.lines().count();
    if lines > limit {
        faults.push(format!("{lines} lines, more than {limit}"));
    }
    if name == "mod" {
        faults.push("a mod.rs: name the file after its module".to_owned());
    }
    if DRAWERS.contains(&&*name) {
        faults.push(format!("`{name}` does not say what is in it"));
    }
    let is_test = modules.iter().any(|module| module == "tests");
    for (layer, libraries, why) in LAYERS.iter().filter(|(layer, ..)| modules.iter().any(|it| it == layer)) {
        for library in libraries.iter().filter(|library| !is_test && names(text, library)) {
            faults.push(format!("the layer `{layer}` names {library}: {why}"));
        }
    }
    faults
}

/// The code, comments aside, names the library or one of its companions (`tonic_types` for `tonic`).
fn names(text: &str, library: &str) -> bool {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut words = code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'));
    words.any(|word| word.strip_prefix(library).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_on_another_service_is_found() {
        let tree = "gateway v0.1.0 (/w/gateway)\nauth-svc v0.1.0 (/w/auth-svc)\nproto v0.1.0 (/w/proto)\nurl v2.5.0\n";
        assert_eq!(forbidden_dependencies(tree, &["chassis", "proto"]).collect::<Vec<_>>(), ["auth-svc"]);
    }

    #[test]
    fn a_layer_that_names_what_it_must_not_know_is_found() {
        let found = |path: &str, text: &str| faults(Path::new(path), text).len();
        assert_eq!(found("auth-svc/src/service.rs", "use tonic_types::ErrorDetails;"), 1);
        assert_eq!(found("auth-svc/src/service/login.rs", "let a: axum::Json<()>; prost::encode();"), 2);
        assert_eq!(found("auth-svc/src/grpc.rs", "sqlx::query!(\"\")"), 1);
        assert_eq!(found("gateway/src/routes/login.rs", "use redis::cmd;"), 1);

        assert_eq!(
            found("auth-svc/src/service.rs", "// Knows no tonic type.\nuse crate::monotonic::Clock;"),
            0
        );
        assert_eq!(found("auth-svc/src/users.rs", "sqlx::query!(\"\")"), 0);
        assert_eq!(found("auth-svc/src/service/tests.rs", "sqlx::query!(\"\")"), 0);
    }

    #[test]
    fn long_files_and_names_that_say_nothing_are_found() {
        let lines = |count| "//\n".repeat(count);
        assert_eq!(faults(Path::new("gateway/src/main.rs"), &lines(60)), [""; 0]);
        assert_eq!(faults(Path::new("gateway/src/main.rs"), &lines(61)).len(), 1);
        assert_eq!(faults(Path::new("gateway/src/router.rs"), &lines(400)), [""; 0]);
        assert_eq!(faults(Path::new("gateway/src/router.rs"), &lines(401)).len(), 1);
        assert_eq!(faults(Path::new("gateway/src/utils.rs"), "").len(), 1);
        assert_eq!(faults(Path::new("gateway/src/routes/mod.rs"), "").len(), 1);
    }
}

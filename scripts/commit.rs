//! Build script of bcastd and bcastctl: the commit that they are built from, as the environment's `BCAST_COMMIT`.
//!
//! The environment may give it, as where a package is built from an archive. Else git is asked; where there is no git, or the
//! source is not in its repository, it is `unknown`. A change that is not committed adds `-dirty`.

use std::path::Path;
use std::process::Command;

/// Characters of a commit that are shown.
const SHOWN: &str = "12";

/// What the programs are built from, in the repository.
const SOURCES: [&str; 5] = ["Cargo.lock", "bcast-domain", "ctl", "dataplane", "ffi"];

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    output.status.success().then_some(text)
}

/// Commit of the source, where git knows the source itself and not only a folder around it.
fn commit() -> Option<String> {
    git(&["ls-files", "--error-unmatch", "Cargo.toml"])?;
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let root = git(&["rev-parse", "--show-toplevel"])?;
    for source in SOURCES {
        println!("cargo:rerun-if-changed={root}/{source}");
    }
    let commit = git(&["rev-parse", &format!("--short={SHOWN}"), "HEAD"])?;
    let is_clean = git(&["status", "--porcelain", "--untracked-files=no", ":/"])?.is_empty();
    Some(if is_clean { commit } else { format!("{commit}-dirty") })
}

fn main() {
    println!("cargo:rerun-if-env-changed=BCAST_COMMIT");
    println!("cargo:rerun-if-changed=Cargo.toml");
    let is_word = |text: &String| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    let given = std::env::var("BCAST_COMMIT").ok().filter(is_word);
    let commit = given.or_else(commit).filter(is_word).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=BCAST_COMMIT={commit}");
}

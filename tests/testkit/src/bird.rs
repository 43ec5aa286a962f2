//! The routing daemon BIRD.

use std::{fs, path::Path};

use crate::{
    namespace::Namespace,
    process::{Process, wait_for},
};

/// Starts BIRD in a namespace and waits for its control socket, `NAMESPACE.ctl` in the folder.
///
/// # Panics
/// BIRD ends instead; its log is shown.
pub fn start(namespace: &Namespace, config: &Path, folder: &Path) -> Process {
    let at = |what: &str| folder.join(format!("{}.{what}", namespace.name())).display().to_string();
    let line = format!("bird -f -c {} -s {} -P {}", config.display(), at("ctl"), at("pid"));
    let _ = fs::remove_file(at("ctl"));
    let mut bird = namespace.start(&line, Path::new(&at("log")));
    wait_for("BIRD", || {
        let ended = bird.ended();
        assert!(ended.is_none(), "BIRD ended:\n{}", bird.log());
        Path::new(&at("ctl")).exists().then_some(())
    });
    bird
}

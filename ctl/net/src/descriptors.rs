//! File descriptors.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one. Where that is refused, a line in the log says so.
pub fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        let (soft, hard) = (limit.current, limit.maximum);
        tracing::warn!(%error, ?soft, ?hard, "the limit of open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let before = getrlimit(Resource::Nofile);
        let low = rustix::process::Rlimit { current: Some(256), ..before };
        setrlimit(Resource::Nofile, low).unwrap();
        raise_descriptors();
        assert_eq!(getrlimit(Resource::Nofile), before.clone_hard());
    }

    trait Hard {
        fn clone_hard(self) -> Self;
    }

    impl Hard for rustix::process::Rlimit {
        fn clone_hard(self) -> Self {
            Self { current: self.maximum, ..self }
        }
    }
}

//! Check of a store that is not opened: whether a daemon would start with it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::embedded::EmbeddedStore;
use crate::revision_file;

/// Why a daemon would not start with a store.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the texts name the fields")]
pub enum CheckError {
    /// A file or folder that the daemon may not read and write.
    #[error("cannot read and write {path}: {reason}; the store's files and their folder must be readable and writable", path = .path.display())]
    Access { path: PathBuf, reason: io::Error },
    /// The folder above the store's folder is missing.
    #[error("there is no folder {folder} for the store's folder; make it, or set store.path to another file", folder = .0.display())]
    NoFolder(PathBuf),
    /// The store is opened from a copy, so that it stays as it is.
    #[error("cannot copy {path} into {folder} to check it: {reason}; set TMPDIR to a folder with room for it", path = .path.display(), folder = .folder.display())]
    Copy { path: PathBuf, folder: PathBuf, reason: io::Error },
    /// It is damaged, too old, of another release, or no store. In the words of the daemon's start.
    #[error("{0}")]
    Refused(String),
}

/// Checks the store at `path`: opens a copy of it. The store itself stays as it is; for one that no daemon writes meanwhile.
///
/// # Errors
///
/// Why a daemon would not start.
pub fn check(path: &Path) -> Result<(), CheckError> {
    let noted = revision_file::path_of(path);
    let files: Vec<&Path> =
        [path, &noted].into_iter().filter(|file| file.symlink_metadata().is_ok()).collect();
    for file in &files {
        let access = |reason| CheckError::Access { path: (*file).to_owned(), reason };
        File::options().read(true).write(true).open(file).map_err(access)?;
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    check_folder(folder)?;
    let scratch =
        tempfile::tempdir().map_err(|reason| CheckError::Access { path: std::env::temp_dir(), reason })?;
    let copy = scratch.path().join("store");
    for (file, copy) in [(path, copy.clone()), (noted.as_path(), revision_file::path_of(&copy))] {
        let failed =
            |reason| CheckError::Copy { path: file.to_owned(), folder: scratch.path().to_owned(), reason };
        if files.contains(&file) {
            fs::copy(file, copy).map_err(failed)?;
        }
    }
    let in_words = |error: crate::StoreError| {
        let (copy, own) = (copy.display().to_string(), path.display().to_string());
        CheckError::Refused(error.to_string().replace(&copy, &own))
    };
    EmbeddedStore::open(&copy).map(drop).map_err(in_words)
}

/// The store's folder, or the one in which it would be made, may be written.
fn check_folder(folder: &Path) -> Result<(), CheckError> {
    let there = if folder.is_dir() { folder } else { folder.parent().unwrap_or(folder) };
    if !there.is_dir() {
        return Err(CheckError::NoFolder(there.to_owned()));
    }
    let access =
        |errno: rustix::io::Errno| CheckError::Access { path: there.to_owned(), reason: errno.into() };
    rustix::fs::access(there, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).map_err(access)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_checked_from_a_copy_and_stays_as_it_is_whatever_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder/domains.redb");
        check(&path).unwrap();
        assert!(!path.exists() && !dir.path().join("folder").exists(), "nothing is made");
        drop(EmbeddedStore::open(&path).unwrap());
        let noted = revision_file::path_of(&path);
        let bytes = || (fs::read(&path).unwrap(), fs::read(&noted).ok());
        let before = bytes();
        check(&path).unwrap();
        assert_eq!(bytes(), before);
        fs::remove_file(&noted).unwrap();
        let missing = check(&path).unwrap_err().to_string();
        assert!(missing.contains(&*path.to_string_lossy()) && missing.contains("accept-store"), "{missing}");
        assert!(!noted.exists());
        fs::write(&path, "a letter").unwrap();
        let foreign = check(&path).unwrap_err().to_string();
        assert!(foreign.contains("is not a bcast store"), "{foreign}");
        assert_eq!(fs::read(&path).unwrap(), b"a letter");
        let nowhere = check(&dir.path().join("a/b/domains.redb")).unwrap_err();
        assert!(matches!(nowhere, CheckError::NoFolder(_)), "{nowhere}");
        assert!(check(&dir.path().join("folder")).is_err(), "a folder is no store");
    }
}

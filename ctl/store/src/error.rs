//! Errors of a store.

use std::io;
use std::path::PathBuf;

use ctl_api::model::Revision;
use thiserror::Error;

use crate::SCHEMA;

/// Why a store cannot be opened, read or written.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the texts name the fields")]
pub enum StoreError {
    /// The file cannot be opened or made.
    #[error("cannot open the store {path}: {reason}; file and folder must be readable and writable", path = .path.display())]
    Open { path: PathBuf, reason: io::Error },
    /// There is no folder for the file.
    #[error("cannot make the folder {folder} for the store: {reason}; the folder above it must exist and be writable", folder = .folder.display())]
    Folder { folder: PathBuf, reason: io::Error },
    /// A folder is where the file should be.
    #[error("{path} is a folder; set store.path to a file in it, {path}/domains.redb for one", path = .0.display())]
    IsFolder(PathBuf),
    /// Another daemon has it open.
    #[error("the store {path} is in use by another daemon; stop that one, or give this one its own file", path = .0.display())]
    InUse(PathBuf),
    /// The file is something else.
    #[error("{path} is not a bcast store; move it away, or set store.path to another file", path = .0.display())]
    Foreign(PathBuf),
    /// A store of another version.
    #[error(
        "the store {path} has schema version {found}, this daemon reads 1 to {SCHEMA} (and makes {SCHEMA} of it); run the daemon that wrote it, \
         `bcastctl export` there, and apply the export to a new store",
        path = .path.display()
    )]
    Schema { path: PathBuf, found: u64 },
    /// The content of the file is not valid.
    #[error(
        "the store {path} is damaged: {detail}; move it away, make a new one with `bcastd --accept-store`, \
         start, and restore your last backup (`bcastctl restore`)",
        path = .path.display()
    )]
    Damaged { path: PathBuf, detail: String },
    /// The store is older than the last revision that was answered.
    #[error(
        "the store {path} is at revision {found} and misses what was written after it; revision {answered} was answered \
         ({file} says so): it was damaged, or replaced by an older copy; put the newer one back, or accept it as it is with \
         `bcastd --accept-store` and restore your last backup",
        path = .path.display(), file = .file.display()
    )]
    Behind { path: PathBuf, file: PathBuf, found: Revision, answered: Revision },
    /// There is a revision file, and no store.
    #[error(
        "there is no store {path}, but revision {answered} was answered ({file} says so); put the store back, or make a new \
         one with `bcastd --accept-store` and restore your last backup",
        path = .path.display(), file = .file.display()
    )]
    Gone { path: PathBuf, file: PathBuf, answered: Revision },
    /// There is no revision file beside a store that has one.
    #[error(
        "{file} is missing: nothing says whether the store {path} is as new as what was answered; put it back, or accept \
         the store as it is with `bcastd --accept-store`",
        path = .path.display(), file = .file.display()
    )]
    RevisionFileMissing { path: PathBuf, file: PathBuf },
    /// Nothing in the revision file can be read.
    #[error(
        "{file} is damaged: nothing says whether the store {path} is as new as what was answered; put it back, or accept \
         the store as it is with `bcastd --accept-store`",
        path = .path.display(), file = .file.display()
    )]
    RevisionFileDamaged { path: PathBuf, file: PathBuf },
    /// Half of the revision file cannot be read, and the store is where the other half says.
    #[error(
        "the revision file is damaged: one half of {file} cannot be read, and nothing says whether the store {path} at revision          {found} is as new as what was answered; put it back, or accept the store as it is with `bcastd --accept-store`",
        path = .path.display(), file = .file.display()
    )]
    RevisionFileHalf { path: PathBuf, file: PathBuf, found: Revision },
    /// The revision file cannot be read or written.
    #[error("cannot read or write {file}: {reason}; it must say what was answered last, before anything is", file = .file.display())]
    RevisionFile { file: PathBuf, reason: io::Error },
    /// A commit failed, and nothing changed.
    #[error("the store {path} could not commit: {reason}; nothing was changed", path = .path.display())]
    Refused { path: PathBuf, reason: String },
    /// A commit failed, and may have changed something after all.
    #[error(
        "the store {path} failed while committing: {reason}; whether the change is there is not known, look before \
         trying again",
        path = .path.display()
    )]
    Unknown { path: PathBuf, reason: String },
    /// The store is at another revision than the caller.
    #[error("the store is at revision {found}, not at {expected}; nothing was changed, try again")]
    Diverged { expected: Revision, found: Revision },
    /// A reader was under way when a commit failed, and the file was closed.
    #[error("the store {path}: a failed commit cut this short; ask again", path = .0.display())]
    CutShort(PathBuf),
    /// It cannot be read now.
    #[error("cannot read the store {path}: {reason}", path = .path.display())]
    Read { path: PathBuf, reason: String },
}

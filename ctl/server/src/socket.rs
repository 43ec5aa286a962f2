//! The Unix socket: for its owner alone, and no daemon takes another's.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use thiserror::Error;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;
/// Most bytes of a socket's path on Linux (`unix(7)`): 108 with the zero at its end.
const PATH_BYTES: usize = 107;

/// Why there is no socket.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the texts name the fields")]
pub enum SocketError {
    /// A daemon answers there.
    #[error("another daemon serves {path}; stop it, or set api.socket to another path", path = .0.display())]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{path} is a file and no socket; it is left alone: set api.socket to another path", path = .0.display())]
    NotASocket(PathBuf),
    /// A folder is there.
    #[error("{path} is a folder; set api.socket to a path in it, {path}/api.sock for one", path = .0.display())]
    IsFolder(PathBuf),
    /// A socket's address has no room for the path.
    #[error("{path} has {bytes} bytes, and the path of a socket at most {PATH_BYTES}; set api.socket to a shorter one", path = .path.display())]
    TooLong { path: PathBuf, bytes: usize },
    /// There is no folder for it.
    #[error("cannot make the folder {folder} for the socket: {reason}; the folder above it must exist and be writable", folder = .folder.display())]
    Folder { folder: PathBuf, reason: io::Error },
    /// The kernel refuses.
    #[error("cannot listen on {path}: {reason}; its folder must be writable", path = .path.display())]
    Listen { path: PathBuf, reason: io::Error },
}

/// A listening socket's file; removed when this is dropped, unless another has taken its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: Option<Identity>,
}

/// Listens on a fresh socket at `path` that nobody but the owner may connect to, from the first moment on: the mode
/// is set on the socket before its file exists.
pub(crate) fn listen(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    let bytes = path.as_os_str().len();
    if bytes > PATH_BYTES {
        return Err(SocketError::TooLong { path: path.to_owned(), bytes });
    }
    make_folder(path)?;
    remove_stale(path)?;
    let listener =
        bind(path).map_err(|error| SocketError::Listen { path: path.to_owned(), reason: error.into() })?;
    Ok((listener, SocketFile { path: path.to_owned(), identity: identity(path) }))
}

/// True if somebody answers at the socket.
#[must_use]
pub fn is_served(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

/// Checks whether a daemon could listen at `path`; changes nothing.
///
/// # Errors
///
/// Why it could not.
pub fn check_socket(path: &Path) -> Result<(), SocketError> {
    let bytes = path.as_os_str().len();
    if bytes > PATH_BYTES {
        return Err(SocketError::TooLong { path: path.to_owned(), bytes });
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let there = if folder.exists() { folder } else { folder.parent().unwrap_or(folder) };
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    if let Err(errno) = rustix::fs::access(there, access) {
        return Err(SocketError::Folder { folder: folder.to_owned(), reason: errno.into() });
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(reason) => Err(SocketError::Listen { path: path.to_owned(), reason }),
        Ok(there) if there.is_dir() => Err(SocketError::IsFolder(path.to_owned())),
        Ok(there) if !there.file_type().is_socket() => Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => Ok(()),
    }
}

/// Makes the folder of the socket, where only that is missing. All may look into it: the socket has a mode of its own.
fn make_folder(path: &Path) -> Result<(), SocketError> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.exists() => DirBuilder::new()
            .mode(0o755)
            .create(folder)
            .map_err(|reason| SocketError::Folder { folder: folder.to_owned(), reason }),
        _ => Ok(()),
    }
}

fn bind(path: &Path) -> Result<UnixListener, rustix::io::Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Linux makes the file with the mode of the socket's inode, less the umask.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

/// Removes what a daemon that is gone has left.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |reason| SocketError::Listen { path: path.to_owned(), reason };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(there) if there.is_dir() => return Err(SocketError::IsFolder(path.to_owned())),
        Ok(there) if !there.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Connected, or too busy to be connected to: somebody is there.
        Ok(_) | Err(_) => Err(SocketError::InUse(path.to_owned())),
    }
}

/// Device, inode, and when it was made: numbers of inodes are used again at once.
type Identity = (u64, u64, i64, i64);

fn identity(path: &Path) -> Option<Identity> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino(), file.ctime(), file.ctime_nsec()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            drop(fs::remove_file(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_owner_may_connect_and_the_file_goes_with_the_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let (_listener, file) = listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_dead_daemons_socket_is_replaced_and_a_live_ones_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let (listener, file) = listen(&path).unwrap();
        assert!(matches!(listen(&path), Err(SocketError::InUse(_))));
        drop(listener);
        assert!(path.exists(), "what kill -9 leaves behind");
        let (_second, second_file) = listen(&path).unwrap();
        drop(file);
        assert!(path.exists(), "the first one's end does not remove the second one's socket");
        drop(second_file);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(listen(&path), Err(SocketError::NotASocket(_))));
        assert!(matches!(check_socket(&path), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn its_folder_is_made_and_a_path_that_cannot_be_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing/api.sock");
        drop(listen(&path).unwrap());
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o755);
        for (path, words) in [
            ("absent/deeper/api.sock", "absent/deeper for the socket: No such file or directory"),
            ("missing", "missing is a folder; set api.socket to a path in it"),
            (&"x".repeat(107), "the path of a socket at most 107"),
        ] {
            let text = listen(&dir.path().join(path)).unwrap_err().to_string();
            assert!(text.contains(words), "{text}");
            let checked = check_socket(&dir.path().join(path)).unwrap_err().to_string();
            assert_eq!(checked, text);
        }
    }
}

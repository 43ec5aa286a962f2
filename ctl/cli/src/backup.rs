//! `backup` and `restore`: all that a node has, as of one revision, in a file, and back.

pub mod file;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use ctl_api::client::RefusalKind;
use ctl_api::proto::{self, CommitReply, Removals, RestoreRequest, SnapshotPart, SnapshotRequest};
use ctl_api::{Client, ClientError};
use serde::Serialize;

use file::{BackupError, Counts, Reader, Writer};

use crate::confirm;
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::out::Out;
use crate::text::{addresses, utc};

/// `bcastctl restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// A file that `backup` wrote; `-` for standard input
    file: PathBuf,
    /// Do not ask (or refuse, where there is no terminal) before removing over 20 % of the memberships or HAVIPs
    #[arg(long)]
    yes: bool,
}

/// JSON of `backup`.
#[derive(Serialize)]
struct BackedUp {
    revision: u64,
    time: String,
    teps: u64,
    domains: u64,
    havips: u64,
    events: u64,
}

/// JSON of `restore`.
#[derive(Serialize)]
struct Restored {
    #[serde(flatten)]
    reply: CommitReply,
    backup: BackedUp,
}

impl From<Counts> for BackedUp {
    fn from(counts: Counts) -> Self {
        let Counts { revision, unix_ms, teps, domains, havips, events, .. } = counts;
        Self { revision, time: utc(unix_ms), teps, domains, havips, events }
    }
}

/// Standard input or output.
const STANDARD: &str = "-";
/// Bytes of a backup that is no regular file, at most.
const SPOOLED_BYTES: u64 = 16 << 30;
/// Comparisons of a backup with a node that changes meanwhile, at most.
const COMPARISONS: usize = 5;
/// Share of the memberships or HAVIPs, one in so many, over which their removal has to be confirmed.
const CONFIRM_OVER_ONE_IN: usize = 5;

/// `backup`: one revision of everything, read while the node serves. A file is there whole or not at all.
pub async fn backup(out: &mut Out, client: &mut Client, file: &Path) -> Result<(), Failure> {
    if file == Path::new(STANDARD) {
        let sink = out.raw();
        write(client, sink).await?.map_err(Failure::from)?;
        return Ok(());
    }
    let failed = |reason| Failure::BackupWrite { file: file.to_owned(), reason };
    let target = target(file).map_err(failed)?;
    let file = target.as_path();
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // For its owner alone, and gone again where something fails.
    let partial = tempfile::Builder::new().prefix(".bcast-backup-").tempfile_in(folder).map_err(failed)?;
    let mut sink = BufWriter::new(partial);
    let counts = write(client, &mut sink).await?.map_err(failed)?;
    let partial = sink.into_inner().map_err(|error| failed(error.into_error()))?;
    partial.as_file().sync_all().map_err(failed)?;
    partial.persist(file).map_err(|error| failed(error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    if out.is_json() {
        return out.json(&BackedUp::from(counts));
    }
    let Counts { revision, teps, domains, havips, .. } = counts;
    let place = file.display();
    out.line(format_args!(
        "revision {revision} is in {place}: {teps} TEPs, {domains} domains, {havips} HAVIPs"
    ))
}

/// Destination of a backup: behind a symbolic link, in place of a file, or a new file. A device or a pipe stays.
fn target(file: &Path) -> io::Result<PathBuf> {
    match std::fs::symlink_metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(file.to_owned()),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    let target = std::fs::canonicalize(file)?;
    match std::fs::metadata(&target)?.is_file() {
        true => Ok(target),
        false => Err(io::Error::other("it is no regular file; use - for standard output")),
    }
}

/// Writes all that the node sends; the inner error is the sink's.
async fn write(client: &mut Client, sink: impl Write) -> Result<io::Result<Counts>, Failure> {
    let mut parts = client.snapshot(SnapshotRequest { with_history: true, ..Default::default() }).await?;
    let mut writer = match Writer::new(sink) {
        Ok(writer) => writer,
        Err(error) => return Ok(Err(error)),
    };
    while let Some(part) = client.next(&mut parts).await? {
        if let Err(error) = writer.part(&part) {
            return Ok(Err(error));
        }
    }
    Ok(writer.finish())
}

/// `restore`: the file is read whole and checked before the node is asked for anything.
pub async fn restore(out: &mut Out, daemon: &Daemon, args: RestoreArgs) -> Result<(), Failure> {
    let mut source = Source::open(&args.file)?;
    let counts = source.check()?;
    let mut client = daemon.connect().await?;
    let mut comparisons = 1;
    let reply = loop {
        // What is confirmed holds for the revision that it was counted at; with --yes for any.
        let (expected, confirmed) = match args.yes {
            true => (None, confirm::ANY),
            false => confirm(&mut client, &source, &args).await?,
        };
        match source.send(&mut client, expected, confirmed).await {
            Err(Failure::RestoreMoved) if comparisons < COMPARISONS => comparisons += 1,
            sent => break sent?,
        }
    };
    if out.is_json() {
        return out.json(&Restored { reply, backup: counts.into() });
    }
    out.line(format_args!("restored revision {} as revision {}", counts.revision, reply.revision))
}

/// Lets a restore pass that removes few memberships and HAVIPs, or that someone at a terminal confirms. Returns the
/// revision that it was counted at, and the removals.
async fn confirm(
    client: &mut Client,
    source: &Source,
    args: &RestoreArgs,
) -> Result<(Option<u64>, Removals), Failure> {
    let have = Inventory::read(client).await?;
    let (memberships, havips) = source.kept(&have)?;
    let all: usize = have.domains.values().map(|members| members.len() / 4).sum();
    for (what, kept, all) in [("memberships", memberships, all), ("HAVIPs", havips, have.havips.len())] {
        let removed = all - kept;
        if removed * CONFIRM_OVER_ONE_IN > all {
            let words = format!("this removes {removed} of {all} {what}, over 20 %");
            confirm::ask(&words, args.file != Path::new(STANDARD)).await?;
            break;
        }
    }
    let (memberships, havips) = (all - memberships, have.havips.len() - havips);
    Ok((Some(have.revision), Removals { memberships: memberships as u64, havips: havips as u64 }))
}

/// Memberships and HAVIPs of a node.
#[derive(Debug, Default)]
struct Inventory {
    revision: u64,
    /// Addresses of members, 4 bytes each, by VNI.
    domains: HashMap<u32, Vec<u8>>,
    havips: HashSet<String>,
}

impl Inventory {
    async fn read(client: &mut Client) -> Result<Self, ClientError> {
        let mut parts = client.snapshot(SnapshotRequest::default()).await?;
        let mut inventory = Self::default();
        while let Some(part) = client.next(&mut parts).await? {
            inventory.revision = part.revision.unwrap_or(inventory.revision);
            let members = |domain: proto::Domain| (domain.vni, domain.members.unwrap_or_default().ipv4);
            inventory.domains.extend(part.domains.into_iter().map(members));
            inventory.havips.extend(part.havips.into_iter().filter_map(|entry| Some(entry.havip?.name)));
        }
        Ok(inventory)
    }
}

/// Reads, and keeps what was read in a file.
struct Copy<'a> {
    source: &'a mut dyn Read,
    copy: &'a File,
    left: u64,
}

impl Read for Copy<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(bytes)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other(format!("it has more than {SPOOLED_BYTES} bytes; restore it from a file"))
        })?;
        self.copy.write_all(bytes.get(..read).unwrap_or_default())?;
        Ok(read)
    }
}

/// A backup that is read as often as it takes.
struct Source {
    name: PathBuf,
    file: File,
}

impl Source {
    /// Opens the file. Standard input, a pipe or a device is put into a temporary file, so that it can be checked
    /// before it is used.
    fn open(name: &Path) -> Result<Self, Failure> {
        let unreadable = |reason| Failure::Unreadable { file: name.to_owned(), reason };
        let spooled = |source: &mut dyn Read| -> Result<File, Failure> {
            let file = tempfile::tempfile().map_err(unreadable)?;
            let copy = Copy { source, copy: &file, left: SPOOLED_BYTES };
            let wrong = |reason| Failure::Backup { file: name.to_owned(), reason };
            // What is no backup is found while it is read, however much there is of it.
            let mut reader = Reader::new(BufReader::new(copy)).map_err(wrong)?;
            while reader.next().map_err(wrong)?.is_some() {}
            Ok(file)
        };
        let file = if name == Path::new(STANDARD) {
            spooled(&mut io::stdin().lock())?
        } else {
            let mut file = File::open(name).map_err(unreadable)?;
            match file.metadata().map_err(unreadable)?.is_file() {
                true => file,
                false => spooled(&mut file)?,
            }
        };
        Ok(Self { name: name.to_owned(), file })
    }

    fn wrong(&self, reason: BackupError) -> Failure {
        Failure::Backup { file: self.name.clone(), reason }
    }

    /// The file from its start.
    fn reader(&self) -> Result<Reader<impl Read + Send + use<>>, Failure> {
        let again = || {
            let mut file = self.file.try_clone()?;
            file.rewind()?;
            Ok(BufReader::with_capacity(256 << 10, file))
        };
        let file = again().map_err(|reason| Failure::Unreadable { file: self.name.clone(), reason })?;
        Reader::new(file).map_err(|reason| self.wrong(reason))
    }

    /// Reads it whole.
    fn check(&mut self) -> Result<Counts, Failure> {
        let mut reader = self.reader()?;
        while reader.next().map_err(|reason| self.wrong(reason))?.is_some() {}
        Ok(reader.counts())
    }

    /// Numbers of the node's memberships and HAVIPs that stay.
    fn kept(&self, have: &Inventory) -> Result<(usize, usize), Failure> {
        let (mut memberships, mut havips) = (0, 0);
        let mut reader = self.reader()?;
        while let Some(part) = reader.next().map_err(|reason| self.wrong(reason))? {
            for domain in &part.domains {
                let had = have.domains.get(&domain.vni).map_or(&[][..], Vec::as_slice);
                let had: HashSet<&[u8]> = had.chunks(4).collect();
                memberships += addresses(domain.members.as_ref()).filter(|tep| had.contains(tep)).count();
            }
            let names = part.havips.iter().filter_map(|entry| Some(&entry.havip.as_ref()?.name));
            havips += names.filter(|name| have.havips.contains(*name)).count();
        }
        Ok((memberships, havips))
    }

    /// Sends it, with `expected` only to a node at that revision; no more may be removed than is confirmed.
    async fn send(
        &mut self,
        client: &mut Client,
        expected: Option<u64>,
        confirmed: Removals,
    ) -> Result<CommitReply, Failure> {
        let failed = Arc::new(Mutex::new(None));
        let requests = Requests {
            reader: Some(self.reader()?),
            expected,
            confirmed: Some(confirmed),
            failed: Arc::clone(&failed),
        };
        let reply = client.restore(tokio_stream::iter(requests)).await;
        // A stream that ended early was refused for that; why it did is what matters.
        if let Some(reason) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(self.wrong(reason));
        }
        reply.map_err(|error| match error {
            ClientError::Refused { kind: RefusalKind::Conflict, .. } => Failure::RestoreMoved,
            error => error.into(),
        })
    }
}

/// The messages of a restore, made as the transport takes them. The last one is sent only where the file was whole.
struct Requests<R> {
    reader: Option<Reader<R>>,
    expected: Option<u64>,
    confirmed: Option<Removals>,
    failed: Arc<Mutex<Option<BackupError>>>,
}

impl<R: Read> Iterator for Requests<R> {
    type Item = RestoreRequest;

    fn next(&mut self) -> Option<RestoreRequest> {
        let read: Result<Option<SnapshotPart>, BackupError> = self.reader.as_mut()?.next();
        let (expected_revision, confirm_removals) = (self.expected.take(), self.confirmed.take());
        match read {
            Ok(part) => {
                let last = part.is_none();
                if last {
                    self.reader = None;
                }
                Some(RestoreRequest { part, last, expected_revision, confirm_removals })
            }
            Err(reason) => {
                self.reader = None;
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
                None
            }
        }
    }
}

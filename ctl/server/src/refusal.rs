//! Why a request is refused, and the status that says so.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use bcast_domain::limits::{MAX_ANNOUNCERS, MAX_VIPS};
use bcast_domain::{Tep, Vni, limits};
use ctl_api::model::{
    BatchError, HavipError, ModelError, Name, NameError, ReasonError, RequestId, Revision, TepRef,
};
use ctl_api::{ERROR_DOMAIN, POSITION, REASON_METADATA, REVISION_TRAILER};
use ctl_node::TepRefusal;
use ctl_store::{ANSWERS, HISTORY_OF_ONE, StoreError};
use ctl_webhook::UnknownReceiver;
use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Why a request is refused.
#[derive(Debug, Clone, Error)]
#[allow(missing_docs, reason = "the texts name the fields")]
pub enum Refusal {
    /// The message is no batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// One change, or one entry of a desired state, cannot be made; `position` is its number, from 1 over all parts.
    #[error("{part} {position}: {problem}")]
    Change { part: &'static str, position: usize, problem: Problem },
    /// Compare and set: the configuration changed after the expected revision, or the node was never there.
    #[error(
        "revision {expected} was expected, the node is at revision {found} and its configuration changed last at \
         {configured}; look at what changed and try again"
    )]
    Revision { expected: Revision, configured: Revision, found: Revision },
    /// A TEP is asked for that is not there.
    #[error("TEP {0} is not registered")]
    NoTep(TepRef),
    /// A wrong field of a request that changes nothing.
    #[error(transparent)]
    Model(ModelError),
    /// A resource that a desired state does not name cannot be deleted.
    #[error("cannot delete a resource that the desired state does not name: {0}")]
    Deletion(Problem),
    /// A request would remove much, and nobody confirmed it.
    #[error(
        "this would remove {memberships} of {of_memberships} memberships and {havips} of {of_havips} HAVIPs; confirm \
         that many (confirm_removals), or correct the request"
    )]
    RemovalsUnconfirmed { memberships: u64, of_memberships: usize, havips: u64, of_havips: usize },
    /// The stream of a desired state was cut.
    #[error("the desired state ended before its last part; nothing was changed, send it again")]
    DesiredCut,
    /// A part follows the last one.
    #[error("a part follows the last one; nothing was changed, mark the last part alone")]
    AfterLast,
    /// A page's token that no reply gave.
    #[error("the page token {0:?} is none of this list; take it from the reply before, or leave it out")]
    PageToken(String),
    /// A domain is asked for that is not there.
    #[error("domain {0} does not exist")]
    NoDomain(Vni),
    /// Offenders of a reason are asked for that there is not.
    #[error("{0:?} is no reason to drop a frame; Stats lists them")]
    NoReason(String),
    /// Learned addresses of a domain that learns none.
    #[error("domain {0} learns no addresses: its ARP inspection is off; set it to sticky first")]
    NotSticky(Vni),
    /// A HAVIP is asked for that is not there.
    #[error("HAVIP {0} does not exist")]
    NoHavip(Name),
    /// A text that is no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A reason that is none.
    #[error(transparent)]
    Reason(ReasonError),
    /// A receiver of webhooks is asked for that is not configured.
    #[error(transparent)]
    NoWebhook(#[from] UnknownReceiver),
    /// The events for webhooks.
    #[error("cannot read the events for webhooks: {0}")]
    Ledger(String),
    /// Too many requests wait.
    #[error("{0} changes wait to be committed already; try again in a moment")]
    Busy(usize),
    /// Too many bytes are prepared by streams.
    #[error("the streams under way would stage more than {limit} bytes; apply in several parts", limit = crate::STAGED_BYTES)]
    Prepared,
    /// Too many streams are open.
    #[error("{0} streams of this kind are open already; close one")]
    Streams(usize),
    /// Too many requests are under way.
    #[error("{0} requests are under way already; try again in a moment")]
    Requests(usize),
    /// Many requests are under way, and this connection has its share of them.
    #[error(
        "many requests are under way: a connection may have {0} at a time now; try again once one of them is answered"
    )]
    Share(usize),
    /// The requests or answers under way hold too much memory.
    #[error("the requests and answers under way hold all the memory that they may; try again in a moment")]
    Memory,
    /// Calls of this kind do not end.
    #[error("{calls} {kind} are under way and do not end; try again later, and look at the daemon's log")]
    Hangs { kind: &'static str, calls: usize },
    /// The next part of a batch does not come.
    #[error("no further part of the batch came for {0} seconds; nothing was changed, send it again")]
    NoPart(u64),
    /// The client takes what is sent too slowly.
    #[error("the client took nothing for {0} seconds; open the stream anew (a watch from where it was)")]
    Slow(u64),
    /// Another request had that id.
    #[error(
        "the request id {id} belongs to another request of the last 10 minutes; give each request an id of its own, and \
         repeat one only with the same changes and conditions",
        id = .0.as_str()
    )]
    IdOfAnother(RequestId),
    /// No more request ids can be kept.
    #[error("{ANSWERS} request ids were used within 10 minutes; go on without ids, or later")]
    Ids,
    /// A backup that cannot be restored.
    #[error("the backup: {0}; nothing was changed")]
    Backup(Problem),
    /// A backup with an entry that cannot be.
    #[error("the backup holds what cannot be: {0}; nothing was changed")]
    BackupEntry(String),
    /// A backup of a revision that no node has given.
    #[error("the backup is of revision {0}, and a node gives none above {max}; nothing was changed", max = Revision::MAX_SAVED)]
    BackupRevision(u64),
    /// The stream of a backup was cut.
    #[error("the backup ended before its last part; nothing was changed, send it again")]
    BackupCut,
    /// The store.
    #[error("{0}")]
    Store(Arc<StoreError>),
    /// Durable, but not every worker was seen to have it.
    #[error(
        "revision {revision} is durable, but {workers} workers did not confirm it in time; ask again, and look at the \
         daemon's log"
    )]
    Unconfirmed { revision: Revision, workers: usize },
    /// The daemon is stopping.
    #[error("the daemon is stopping; nothing was changed")]
    Stopping,
}

/// Why a change cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the texts name the fields")]
pub enum Problem {
    /// A TEP that is not registered cannot become a member.
    #[error("TEP {0} is not registered; add it first")]
    Unregistered(TepRef),
    /// There is no such domain to join.
    #[error("domain {0} does not exist; create it first")]
    NoDomain(Vni),
    /// A domain whose VNI is no network's.
    #[error(
        "VNI 0 is no domain's: GRE key 0 is for BFD between hypervisors and the node; choose another VNI"
    )]
    VniZero,
    /// A node that is pinned, and not configured.
    #[error("node {name} is none of the configured nodes: {nodes}")]
    NoNode { name: Name, nodes: String },
    /// No node can be pinned where none is configured.
    #[error(
        "node {0} cannot be pinned: no nodes are configured; list them in the configuration as [[cluster.nodes]]"
    )]
    NoNodes(Name),
    /// Another TEP has the name.
    #[error("the name {name} is TEP {holder}'s; names of TEPs are unique")]
    NameTaken { name: Name, holder: Tep },
    /// Something is deleted that has to be there.
    #[error("{0}; nothing was changed")]
    Absent(String),
    /// A TEP cannot go while it is a member.
    #[error("TEP {tep} is a member of {domains} domain{s}; let it leave first, or remove it with --force", s = if *.domains == 1 { "" } else { "s" })]
    StillMember { tep: Tep, domains: u32 },
    /// This node cannot have that TEP.
    #[error(transparent)]
    Tep(#[from] TepRefusal),
    /// A domain would have too many members.
    #[error("domain {vni} would have {members} members; at most {max}", max = limits::MAX_MEMBERS)]
    Members { vni: Vni, members: usize },
    /// A domain would have too many gateways.
    #[error("domain {0} has {max} gateways, as many as it may; remove one first", max = limits::MAX_GATEWAYS)]
    Gateways(Vni),
    /// There would be too many domains.
    #[error("domain {0} would be one more than the {max} that a node holds", max = limits::MAX_DOMAINS)]
    Domains(Vni),
    /// There would be too many TEPs.
    #[error(
        "TEP {0} would be one more than the {max} that a node holds (one that was just removed counts for a moment \
         yet)",
        max = limits::MAX_TEPS
    )]
    Teps(Tep),
    /// There would be too many memberships.
    #[error("with domain {0} there would be more than {max} memberships in all", max = limits::MAX_MEMBERSHIPS)]
    Memberships(Vni),
    /// A TEP cannot go while instances are attached there.
    #[error("TEP {tep} has attachments of {havips} HAVIP{s}; detach them first, or remove it with --force", s = if *.havips == 1 { "" } else { "s" })]
    StillAttached { tep: Tep, havips: u32 },
    /// A domain cannot go while it has HAVIPs.
    #[error("domain {vni} has {havips} HAVIP{s}; remove them first, or the domain with --force", s = if *.havips == 1 { "" } else { "s" })]
    HasHavips { vni: Vni, havips: u32 },
    /// A resource, a member or a TEP stands twice where each stands once.
    #[error("{0} stands there twice; give it once")]
    Twice(String),
    /// A HAVIP has more history than is kept.
    #[error("more than {HISTORY_OF_ONE} things are told of HAVIP {0}")]
    History(Name),
    /// The holder in a backup may not hold it.
    #[error("HAVIP {name} is held by instance {instance}, which is not attached so")]
    HolderNotAttached { name: Name, instance: Name },
    /// There is no such HAVIP.
    #[error("HAVIP {0} does not exist; create it first")]
    NoHavip(Name),
    /// A HAVIP that cannot be.
    #[error(transparent)]
    Havip(#[from] HavipError),
    /// Another HAVIP has the name.
    #[error(
        "HAVIP {name} is there already, with address {address} in domain {vni}; take another name, or remove it first"
    )]
    HavipThere { name: Name, vni: Vni, address: IpAddr },
    /// Another HAVIP has the address.
    #[error("address {address} in domain {vni} is HAVIP {holder}'s; take another, or remove that one first")]
    AddressTaken { vni: Vni, address: IpAddr, holder: Name },
    /// Another HAVIP has the EIP.
    #[error("EIP {eip} is HAVIP {holder}'s; unbind it there first")]
    EipTaken { eip: IpAddr, holder: Name },
    /// The HAVIP has another EIP, and has one at most.
    #[error("HAVIP {name} has the EIP {eip}, and has one at most; unbind that first")]
    HasEip { name: Name, eip: IpAddr },
    /// A route to it would lead the underlay astray.
    #[error("EIP {0} is a TEP's address, this node's, or no host's on its link; give one that is nobody's")]
    EipOfUnderlay(IpAddr),
    /// The same, the other way round.
    #[error("{tep} is the EIP of HAVIP {havip}; unbind it there first")]
    TepIsEip { tep: Tep, havip: Name },
    /// A HAVIP would have too many attachments.
    #[error("HAVIP {name} would have {count} attachments; at most {most} (havip.attachments)")]
    Attachments { name: Name, count: usize, most: u32 },
    /// An instance would be attached to too many HAVIPs.
    #[error(
        "instance {instance} would be attached to {count} HAVIPs of domain {vni}; at most {most} (havip.per_instance)"
    )]
    HavipsOfInstance { instance: Name, vni: Vni, count: u32, most: u32 },
    /// A domain would have too many HAVIPs.
    #[error("HAVIP {name} would be one more than the {most} that domain {vni} may have (havip.per_vni)")]
    HavipsOfDomain { name: Name, vni: Vni, most: u32 },
    /// There would be too many HAVIPs.
    #[error("HAVIP {name} would be one more than the {most} that the node may have (havip.total)")]
    Havips { name: Name, most: u32 },
    /// There would be more HAVIPs or attachments than the node has numbers for.
    #[error(
        "with HAVIP {0} there would be more than {MAX_VIPS} HAVIPs, or {MAX_ANNOUNCERS} attachments, each counted on each of \
         its TEPs (what was just removed counts for a moment yet)"
    )]
    Numbers(Name),
}

impl Problem {
    fn code(&self) -> Code {
        match self {
            Self::Unregistered(_)
            | Self::NoDomain(_)
            | Self::NoHavip(_)
            | Self::NoNode { .. }
            | Self::Absent(_) => Code::NotFound,
            Self::NameTaken { .. }
            | Self::HavipThere { .. }
            | Self::HasEip { .. }
            | Self::AddressTaken { .. }
            | Self::EipTaken { .. }
            | Self::TepIsEip { .. } => Code::AlreadyExists,
            Self::StillMember { .. }
            | Self::StillAttached { .. }
            | Self::HasHavips { .. }
            | Self::NoNodes(_) => Code::FailedPrecondition,
            Self::Tep(_)
            | Self::Havip(_)
            | Self::EipOfUnderlay(_)
            | Self::VniZero
            | Self::Twice(_)
            | Self::History(_)
            | Self::HolderNotAttached { .. } => Code::InvalidArgument,

            Self::Members { .. }
            | Self::Gateways(_)
            | Self::Domains(_)
            | Self::Teps(_)
            | Self::Memberships(_)
            | Self::Attachments { .. }
            | Self::HavipsOfInstance { .. }
            | Self::HavipsOfDomain { .. }
            | Self::Havips { .. }
            | Self::Numbers(_) => Code::ResourceExhausted,
        }
    }
}

impl Refusal {
    fn code(&self) -> Code {
        match self {
            Self::Batch(BatchError::TooManyChanges(_)) => Code::ResourceExhausted,
            Self::Batch(_) | Self::Model(_) | Self::Name(_) | Self::PageToken(_) => Code::InvalidArgument,
            Self::NoReason(_) | Self::Reason(_) => Code::InvalidArgument,
            Self::DesiredCut | Self::AfterLast => Code::InvalidArgument,
            Self::RemovalsUnconfirmed { .. } | Self::NotSticky(_) => Code::FailedPrecondition,
            Self::BackupEntry(_) | Self::BackupRevision(_) | Self::BackupCut => Code::InvalidArgument,
            Self::Change { problem, .. } | Self::Deletion(problem) => problem.code(),
            Self::Backup(problem) if problem.code() == Code::ResourceExhausted => Code::ResourceExhausted,
            Self::Backup(_) => Code::InvalidArgument,
            Self::IdOfAnother(_) => Code::AlreadyExists,
            Self::Ids => Code::ResourceExhausted,
            Self::Revision { .. } => Code::Aborted,
            Self::NoTep(_) | Self::NoDomain(_) | Self::NoHavip(_) | Self::NoWebhook(_) => Code::NotFound,
            Self::Busy(_)
            | Self::Prepared
            | Self::Memory
            | Self::Requests(_)
            | Self::Share(_)
            | Self::Hangs { .. }
            | Self::Streams(_)
            | Self::Slow(_) => Code::ResourceExhausted,
            Self::Store(_) | Self::Ledger(_) | Self::Stopping => Code::Unavailable,
            Self::Unconfirmed { .. } | Self::NoPart(_) => Code::DeadlineExceeded,
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// Reason of an error in upper case: the name of its variant.
fn reason(error: &dyn std::fmt::Debug) -> String {
    let text = format!("{error:?}");
    let name = text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let mut reason = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !reason.is_empty() {
            reason.push('_');
        }
        reason.push(letter.to_ascii_uppercase());
    }
    reason
}

impl Refusal {
    /// Reason, position and bad field, for programs (google.rpc).
    fn details(&self) -> ErrorDetails {
        let mut details = ErrorDetails::new();
        let mut numbers = Vec::new();
        let mut why = reason(self);
        match self {
            Self::Change { part, position, problem } => {
                why = reason(problem);
                numbers.push((POSITION, *position as u64));
                if problem.code() == Code::InvalidArgument && *part == "change" {
                    let field = format!("changes[{}]", position - 1);
                    details.add_bad_request_violation(field, problem.to_string());
                }
            }
            Self::Deletion(problem) | Self::Backup(problem) => why = reason(problem),
            Self::Batch(error) => {
                why = reason(error);
                if let BatchError::Item { part, position, field, error } = error {
                    why = reason(error.innermost());
                    numbers.push((POSITION, *position as u64));
                    let field = match *part {
                        "change" => format!("changes[{}].{field}", position - 1),
                        _ => field.clone(),
                    };
                    details.add_bad_request_violation(field.trim_end_matches('.'), error.to_string());
                }
            }
            Self::Reason(error) => {
                why = reason(error);
                details.add_bad_request_violation(REASON_METADATA, error.to_string());
            }
            Self::Model(error) => {
                why = reason(error.innermost());
                details.add_bad_request_violation(error.field(), error.to_string());
            }
            Self::RemovalsUnconfirmed { memberships, havips, .. } => {
                numbers.extend([("memberships", *memberships), ("havips", *havips)]);
            }
            _ => {}
        }
        let metadata: HashMap<String, String> =
            numbers.into_iter().map(|(key, number)| (key.to_owned(), number.to_string())).collect();
        details.set_error_info(why, ERROR_DOMAIN, metadata);
        details
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut status = Self::with_error_details(refusal.code(), refusal.to_string(), refusal.details());
        if let Refusal::Unconfirmed { revision, .. } = refusal {
            status.metadata_mut().insert(REVISION_TRAILER, revision.get().into());
        }
        status
    }
}

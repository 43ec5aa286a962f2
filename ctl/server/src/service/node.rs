//! The node as hypervisors see it by BFD.

use ctl_api::proto;
use ctl_node::{BfdSession, BfdState, NodeState, Standing};

use super::counters;
use crate::author::Author;
use crate::shared::Shared;

/// State of the node as BFD tells it to hypervisors.
pub(super) fn status(shared: &Shared) -> proto::NodeStatus {
    let Standing { state, reasons, held_back_for, sessions } = shared.node.standing();
    let state = match state {
        NodeState::Serving => proto::NodeState::Serving,
        NodeState::Leaving => proto::NodeState::Leaving,
        NodeState::HeldBack => proto::NodeState::HeldBack,
    };
    proto::NodeStatus {
        state: state.into(),
        reasons: reasons.into_iter().map(str::to_owned).collect(),
        held_back_ms: u64::try_from(held_back_for.as_millis()).unwrap_or(u64::MAX),
        bfd_sessions: counters(sessions),
    }
}

/// Drains the node, or ends that.
pub(super) fn drain(shared: &Shared, drained: bool, author: &Author) -> proto::NodeStatus {
    if shared.node.set_drained(drained) != drained {
        author.log_drain(drained);
    }
    status(shared)
}

/// A session.
pub(super) fn session(session: BfdSession) -> proto::BfdSession {
    proto::BfdSession {
        local: state(session.local).into(),
        remote: state(session.remote).into(),
        diagnostic: session.diagnostic.into(),
        remote_diagnostic: session.remote_diagnostic.into(),
        since_unix_ms: session.since_unix_ns / 1_000_000,
        transmit_interval_us: session.transmit_interval_us.into(),
        detection_time_us: session.detection_time_us.into(),
        flaps: session.flaps,
    }
}

const fn state(state: BfdState) -> proto::BfdState {
    match state {
        BfdState::AdminDown => proto::BfdState::AdminDown,
        BfdState::Down => proto::BfdState::Down,
        BfdState::Init => proto::BfdState::Init,
        BfdState::Up => proto::BfdState::Up,
    }
}

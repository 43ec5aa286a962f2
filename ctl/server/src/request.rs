//! Digest of a request's changes and conditions, to which its id belongs.

use ctl_api::proto::{ApplyOptions, ApplyRequest, CommitRequest};
use ctl_store::Body;
use prost::Message;
use ring::digest::{Context, SHA256};

/// A digest of a request, as its parts come in: however it is cut into parts, it is the same.
pub(crate) struct RequestDigest(Option<Context>);

impl RequestDigest {
    /// Starts with the conditions, which stand in the first part. A request without an id needs no digest.
    pub fn start(first: &CommitRequest) -> Self {
        Self::with(first.request_id.as_ref(), &[], [first.expected_revision, first.above_revision])
    }

    /// The same for a desired state.
    pub fn start_apply(first: &ApplyRequest) -> Self {
        let options = first.options.clone().unwrap_or_default();
        let ApplyOptions { prune, expected_revision, ref request_id, above_revision, .. } = options;
        Self::with(request_id.as_ref(), &[b'a', u8::from(prune)], [expected_revision, above_revision])
    }

    fn with(id: Option<&String>, kind: &[u8], conditions: [Option<u64>; 2]) -> Self {
        Self(id.map(|_| {
            let mut context = Context::new(&SHA256);
            context.update(kind);
            for condition in conditions {
                context.update(&[u8::from(condition.is_some())]);
                context.update(&condition.unwrap_or_default().to_le_bytes());
            }
            context
        }))
    }

    /// Adds the changes of a part.
    pub fn add(&mut self, part: &CommitRequest) {
        self.add_all(&part.changes, b'c');
    }

    /// Adds the entries of a part.
    pub fn add_desired(&mut self, part: &ApplyRequest) {
        self.add_all(&part.teps, b't');
        self.add_all(&part.domains, b'd');
        self.add_all(&part.havips, b'h');
    }

    fn add_all<M: Message>(&mut self, messages: &[M], kind: u8) {
        let Some(context) = &mut self.0 else { return };
        for message in messages {
            context.update(&[kind]);
            context.update(&message.encode_length_delimited_to_vec());
        }
    }

    /// The digest; zeros where there is no id.
    pub fn finish(self) -> Body {
        let mut body = Body::default();
        if let Some(context) = self.0 {
            body.copy_from_slice(context.finish().as_ref());
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use ctl_api::model::{Batch, Change, Conditions, Revision};

    use super::*;

    fn body(parts: &[CommitRequest]) -> Body {
        let mut digest = RequestDigest::start(&parts[0]);
        parts.iter().for_each(|part| digest.add(part));
        digest.finish()
    }

    #[test]
    fn a_body_is_the_changes_and_conditions_however_they_are_cut_into_parts() {
        let create = |vni: u32| Change::domain(vni.into(), None);
        let conditions = Conditions {
            request_id: "id".parse().ok(),
            expected: Some(Revision::new(7)),
            ..Default::default()
        };
        let batch = |changes: Vec<Change>| Batch { changes, conditions: conditions.clone() };
        let message = |changes| CommitRequest::from(batch(changes));
        let whole = body(&[message(vec![create(1), create(2)])]);
        assert_eq!(body(&[message(vec![create(1)]), Batch::new(vec![create(2)]).into()]), whole);
        assert_eq!(body(&[message(vec![]), Batch::new(vec![create(1), create(2)]).into()]), whole);
        let dry = CommitRequest { dry_run: true, ..message(vec![create(1), create(2)]) };
        assert_eq!(body(&[dry]), whole, "a dry run asks for the same");
        let others = [
            message(vec![create(2), create(1)]),
            message(vec![create(1)]),
            message(vec![]),
            CommitRequest { expected_revision: None, ..message(vec![create(1), create(2)]) },
            CommitRequest { expected_revision: Some(0), ..message(vec![create(1), create(2)]) },
            CommitRequest { above_revision: Some(7), ..message(vec![create(1), create(2)]) },
        ];
        for other in others {
            assert_ne!(body(std::slice::from_ref(&other)), whole, "{other:?}");
        }
    }
}

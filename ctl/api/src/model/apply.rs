//! Desired states: resources that the node shall have, and how they differ from those that it has.

use super::batch::Packer;
use super::change::key_of;
use super::{BatchError, Conditions, DomainEntry, Havip, MAX_CHANGES, ModelError, SetResource, TepEntry};
use crate::proto;

/// A desired state, gathered part by part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Apply {
    /// The resources; the position of each in errors is its index here, from 1.
    pub resources: Vec<SetResource>,
    /// Resources that are not named are deleted, and fields that are not named are cleared.
    pub prune: bool,
    /// Conditions.
    pub conditions: Conditions,
    /// Most differences to be sent; `None`: all.
    pub max_differences: Option<usize>,
    /// The last part came.
    pub is_whole: bool,
    is_started: bool,
}

impl Apply {
    /// Takes in a part.
    ///
    /// # Errors
    ///
    /// Wrong options, or an entry that is wrong by itself.
    pub fn add(&mut self, part: proto::ApplyRequest) -> Result<(), BatchError> {
        if !std::mem::replace(&mut self.is_started, true) {
            self.start(part.options.unwrap_or_default())?;
        }
        let teps = part.teps.into_iter().map(|tep| ("teps", tep_of(tep)));
        let domains = part.domains.into_iter().map(|domain| ("domains", domain_of(domain)));
        let havips = part.havips.into_iter().map(|havip| ("havips", havip_of(havip)));
        for (list, resource) in teps.chain(domains).chain(havips) {
            let position = self.resources.len() + 1;
            self.resources.push(resource.map_err(|error| {
                let field = [list, error.field()].into_iter().filter(|part| !part.is_empty());
                let field = field.collect::<Vec<_>>().join(".");
                BatchError::Item { part: "entry", position, field, error }
            })?);
        }
        self.is_whole = part.last;
        Ok(())
    }

    fn start(&mut self, options: proto::ApplyOptions) -> Result<(), BatchError> {
        let proto::ApplyOptions { expected_revision, request_id, above_revision, .. } = &options;
        let id = request_id.as_deref();
        self.conditions = Conditions::parse(*expected_revision, id, options.dry_run, *above_revision)?;
        self.prune = options.prune;
        self.conditions.confirmed = options.confirm_removals.unwrap_or_default();
        self.max_differences =
            options.max_differences.map(|most| usize::try_from(most).unwrap_or(usize::MAX));
        Ok(())
    }
}

fn tep_of(message: proto::Tep) -> Result<SetResource, ModelError> {
    Ok(SetResource::Tep(key_of(&message)?, message.try_into()?))
}

fn domain_of(message: proto::Domain) -> Result<SetResource, ModelError> {
    Ok(SetResource::Domain(message.vni.into(), message.try_into()?))
}

fn havip_of(message: proto::Havip) -> Result<SetResource, ModelError> {
    let name = message.name.parse()?;
    match message.address.is_empty() {
        true => Err(ModelError::Missing("address of the HAVIP")),
        false => Ok(SetResource::Havip(name, message.try_into()?)),
    }
}

/// A resource of a desired state. A TEP is named by its address there.
impl From<SetResource> for proto::Resource {
    fn from(resource: SetResource) -> Self {
        use proto::{resource::Resource as Kind, set};
        Self {
            resource: Some(match set::Resource::from(resource) {
                set::Resource::Tep(tep) => Kind::Tep(tep),
                set::Resource::Domain(domain) => Kind::Domain(domain),
                set::Resource::Havip(havip) => Kind::Havip(havip),
            }),
        }
    }
}

/// The messages of a desired state, made as they are asked for, each within the limits of a message. TEPs should come
/// first, then domains, then HAVIPs: then positions in errors count as the resources came.
pub struct ApplyParts<I: Iterator> {
    options: Option<proto::ApplyOptions>,
    resources: Packer<I>,
    is_over: bool,
}

impl<I: Iterator<Item = proto::Resource>> ApplyParts<I> {
    /// The parts of these resources; the first carries the options.
    pub fn new(options: proto::ApplyOptions, resources: I) -> Self {
        Self { options: Some(options), resources: Packer::new(resources), is_over: false }
    }
}

impl<I: Iterator<Item = proto::Resource>> Iterator for ApplyParts<I> {
    type Item = proto::ApplyRequest;

    fn next(&mut self) -> Option<proto::ApplyRequest> {
        use proto::resource::Resource as Kind;
        if self.is_over {
            return None;
        }
        let mut part = proto::ApplyRequest { options: self.options.take(), ..Default::default() };
        for resource in self.resources.next_part(MAX_CHANGES) {
            match resource.resource {
                Some(Kind::Tep(tep)) => part.teps.push(tep),
                Some(Kind::Domain(domain)) => part.domains.push(domain),
                Some(Kind::Havip(havip)) => part.havips.push(havip),
                None => {}
            }
        }
        self.is_over = self.resources.is_done();
        part.last = self.is_over;
        Some(part)
    }
}

/// A present resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A TEP.
    Tep(TepEntry),
    /// A domain.
    Domain(DomainEntry),
    /// A HAVIP.
    Havip(Box<Havip>),
}

/// A resource that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The resource before; `None`: it is created.
    pub before: Option<Resource>,
    /// The resource after; `None`: it is deleted.
    pub after: Option<Resource>,
}

impl From<Resource> for proto::Resource {
    fn from(resource: Resource) -> Self {
        use proto::resource::Resource as Kind;
        Self {
            resource: Some(match resource {
                Resource::Tep(tep) => Kind::Tep(tep.into()),
                Resource::Domain(domain) => Kind::Domain(domain.into()),
                Resource::Havip(havip) => Kind::Havip((*havip).into()),
            }),
        }
    }
}

impl From<Difference> for proto::Difference {
    fn from(Difference { before, after }: Difference) -> Self {
        Self { before: before.map(Into::into), after: after.map(Into::into) }
    }
}
